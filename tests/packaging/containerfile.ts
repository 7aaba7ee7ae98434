import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'

/** What of an image is not files. */
export interface Image {
  /** Folder that stands for its root. */
  readonly root: string
  readonly env: Readonly<Record<string, string>>
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly healthcheck: readonly string[]
  readonly user: string
  readonly workdir: string
}

interface Stage extends Image {
  readonly name: string
}

/**
 * Does in folders what an engine does in images: COPY copies, RUN runs, with the stage's folder put before every absolute
 * path. For a machine without an engine; the base image is this machine. Unknown instructions are an error.
 */
export function buildImage(containerfile: string, context: string, folder: string): Image {
  const stages: Stage[] = []
  const lines = readFileSync(containerfile, 'utf8').replaceAll('\\\n', ' ').split('\n')
  for (const line of lines.filter((each) => each.trim() !== '' && !each.startsWith('#'))) {
    const [instruction = '', rest = ''] = [line.split(' ')[0], line.slice(line.indexOf(' ') + 1).trim()]
    const stage = stages.at(-1)
    if (instruction === 'FROM') stages.push(begin(rest, folder, stages.length))
    else if (stage === undefined) throw new Error(`${line} before FROM`)
    else stages[stages.length - 1] = { ...stage, ...perform(instruction, rest, stage, stages, context) }
  }
  return stages.at(-1)!
}

function begin(rest: string, folder: string, at: number): Stage {
  const root = join(folder, `stage-${at}`)
  mkdirSync(join(root, 'usr', 'local', 'bin'), { recursive: true })
  copyFileSync(process.execPath, join(root, 'usr', 'local', 'bin', 'node')) // of the base image
  const name = / AS (\w+)$/.exec(rest)?.[1] ?? ''
  return { name, root, env: {}, entrypoint: [], command: [], healthcheck: [], user: '', workdir: '/' }
}

function perform(
  instruction: string,
  rest: string,
  stage: Stage,
  stages: readonly Stage[],
  context: string,
): Partial<Stage> {
  const cwd = join(stage.root, stage.workdir)
  switch (instruction) {
    case 'WORKDIR':
      mkdirSync(join(stage.root, rest), { recursive: true })
      return { workdir: rest }
    case 'COPY':
      copy(rest, cwd, stages, context)
      return {}
    case 'RUN':
      execFileSync('sh', ['-ec', rest.replaceAll(/(?<= )\/(?=[a-z])/g, `${stage.root}/`)], { cwd, stdio: 'pipe' })
      return {}
    case 'ENV':
      return {
        env: {
          ...stage.env,
          ...Object.fromEntries(rest.split(' ').map((each) => each.split('=') as [string, string])),
        },
      }
    case 'USER':
      return { user: rest }
    case 'ENTRYPOINT':
      return { entrypoint: JSON.parse(rest) as string[] }
    case 'CMD':
      return { command: JSON.parse(rest) as string[] }
    case 'HEALTHCHECK':
      return { healthcheck: JSON.parse(rest.slice(rest.indexOf('['))) as string[] }
    case 'VOLUME':
    case 'EXPOSE':
    case 'STOPSIGNAL':
      return {}
    default:
      throw new Error(`Unknown instruction ${instruction}`)
  }
}

function copy(rest: string, cwd: string, stages: readonly Stage[], context: string): void {
  const words = rest.split(' ')
  const from = words[0]?.startsWith('--from=') ? words.shift()!.slice('--from='.length) : undefined
  const source = from === undefined ? context : stages.find(({ name }) => name === from)!.root
  const to = words.pop()!
  for (const word of words) {
    const file = join(source, word)
    const target = to.endsWith('/') ? join(cwd, to, basename(word)) : join(cwd, to)
    cpSync(file, statSync(file).isDirectory() ? join(cwd, to) : target, { recursive: true, verbatimSymlinks: true })
  }
}
