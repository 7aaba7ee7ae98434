import type { Argument, Command, Option } from 'commander'

/** What may stand behind an option: one of these, or words to choose from. */
type Values = 'files' | 'folders' | 'anything' | 'nothing' | readonly string[]

interface Completed {
  readonly values: Values
  /** Further values may follow. */
  readonly several: boolean
  /** The value may be left out. */
  readonly optional: boolean
}

/** A command by its words, beginning with the program's own. */
interface Place {
  readonly path: string
  readonly words: readonly string[]
  readonly options: ReadonlyMap<string, Completed>
}

/** The script for a shell, made from the tree of commands: hidden commands and options are left out of it. */
export function completionScript(program: Command, shell: 'bash' | 'zsh'): string {
  const places = placesOf(program, program.name())
  const inner = places.map(({ path }) => path).filter((path) => path !== program.name())
  const tables = { paths: inner.map(quoted).join('|'), values: valueCases(places), names: nameCases(places) }
  return shell === 'bash' ? bashScript(program.name(), tables) : zshScript(program.name(), tables)
}

function placesOf(command: Command, path: string): Place[] {
  const help = command.createHelp()
  const children = help.visibleCommands(command).filter((child) => child.name() !== 'help')
  const options = help.visibleOptions(command)
  const names = options.flatMap((option) => namesOf(option).map((name) => [name, completedOf(option)] as const))
  const own: Place = {
    path,
    words: [
      ...children.map((child) => child.name()),
      ...command.registeredArguments.flatMap(({ argChoices }: Argument) => argChoices ?? []),
      ...options.map((option) => option.long ?? option.short ?? ''),
    ],
    options: new Map(names),
  }
  return [own, ...children.flatMap((child) => placesOf(child, `${path} ${child.name()}`))]
}

const namesOf = ({ short, long }: Option): string[] => [short, long].filter((name) => name !== undefined)

function completedOf({ flags, argChoices, variadic, required, optional }: Option): Completed {
  const [, placeholder = ''] = /<(\w+)/.exec(flags) ?? []
  const several = variadic
  if (argChoices !== undefined) return { values: argChoices, several, optional }
  const values = PATHS.get(placeholder) ?? (required ? 'anything' : 'nothing')
  return { values, several, optional }
}

/** Placeholders that stand for paths; JSON may be given as a file of it. */
const PATHS: ReadonlyMap<string, Values> = new Map([
  ['file', 'files'],
  ['json', 'files'],
  ['folder', 'folders'],
])

/** The shells' own cases: what an option takes, `<place>:<option>` where it differs between commands. */
function valueCases(places: readonly Place[]): string {
  const uses = places.flatMap(({ path, options }) =>
    [...options].map(([name, is]) => ({ path, name, is: settings(is) })),
  )
  const lines: string[] = []
  for (const name of new Set(uses.map((use) => use.name))) {
    const own = uses.filter((use) => use.name === name)
    const usual = mostFrequent(own.map(({ is }) => is))
    for (const { path, is } of own.filter((use) => use.is !== usual))
      lines.push(`    ${quoted(`${path}:${name}`)}) ${is} ;;`)
    if (usual !== settings(FLAG)) lines.push(`    *${quoted(`:${name}`)}) ${usual} ;;`)
  }
  return lines.join('\n')
}

const FLAG: Completed = { values: 'nothing', several: false, optional: false }

const settings = ({ values, several, optional }: Completed): string => {
  const words = typeof values === 'string' ? values : `words choices=${quoted(values.join(' '))}`
  return `takes=${words}${several ? ' several=1' : ''}${optional ? ' optional=1' : ''}`
}

function mostFrequent(texts: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].reduce((best, each) => (each[1] > best[1] ? each : best))[0]
}

const nameCases = (places: readonly Place[]): string =>
  places.map(({ path, words }) => `    ${quoted(path)}) names=${quoted(words.join(' '))} ;;`).join('\n')

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

interface Tables {
  readonly paths: string
  readonly values: string
  readonly names: string
}

/** Both shells read this: where the word before the cursor stands, and what may follow. `before` are the words so far. */
const decide = ({ paths, values, names }: Tables): string => `  for word in "\${before[@]}"; do
    case "$word" in
      =) ;;
      -*=*) option="\${word%%=*}" count=1 ;;
      -*) option="$word" count=0 ;;
      *)
        count=$((count + 1))
        if [ -z "$option" ]; then
          case "$place $word" in
            ${paths}) place="$place $word" ;;
          esac
        fi
        ;;
    esac
  done
  case "$place:$option" in
${values}
  esac
  case "$place" in
${names}
  esac
  # A value that must come leaves room for nothing else; one that may come stands beside the names.
  if [ "$takes" != nothing ]; then
    if [ "$count" -eq 0 ]; then
      [ -n "$optional" ] || names=''
    elif [ -z "$several" ]; then
      takes=nothing
    fi
  fi
  [ "$takes" = words ] && names="$choices $names"
`

const DECLARED = `option= count=0 takes=nothing choices= several= optional= names= word=`

const bashScript = (
  name: string,
  tables: Tables,
): string => `# Completion of ${name} for bash: source <(${name} completion bash)
_${name}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" place='${name}' ${DECLARED}
  local before=("\${COMP_WORDS[@]:1:COMP_CWORD-1}") IFS=$' \\t\\n'
  # bash takes --option=value apart, because = is one of its word breaks.
  if [ "$cur" = = ]; then cur=''; fi
${decide(tables)}
  COMPREPLY=($(compgen -W "$names" -- "$cur"))
  local IFS=$'\\n'
  case "$takes" in
    files) COMPREPLY+=($(compgen -f -- "$cur")) ;;
    folders) COMPREPLY+=($(compgen -d -- "$cur")) ;;
    *) return ;;
  esac
  compopt -o filenames 2> /dev/null || true
}
complete -F _${name} ${name}
`

const zshScript = (name: string, tables: Tables): string => `#compdef ${name}
# Completion of ${name} for zsh: source <(${name} completion zsh)
_${name}() {
  local cur="\${words[CURRENT]}" place='${name}' ${DECLARED}
  local -a before=("\${(@)words[2,CURRENT-1]}")
  if [[ "$cur" == -*=* ]]; then
    before+=("\${cur%%=*}")
    compset -P '*='
  fi
${decide(tables)}
  compadd -- \${=names}
  case "$takes" in
    files) _files ;;
    folders) _files -/ ;;
  esac
}
if [[ "\${funcstack[1]}" == _${name} ]]; then
  _${name} "$@"
else
  (( $+functions[compdef] )) || { autoload -U compinit && compinit; }
  compdef _${name} ${name}
fi
`
