import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'

const hasZsh = spawnSync('zsh', ['--version']).status === 0
const folder = mkdtempSync(join(tmpdir(), 'muster-completion-'))

beforeAll(async () => {
  for (const shell of ['bash', 'zsh']) {
    const ran = await muster(['completion', shell])
    expect(ran).toMatchObject({ code: 0, err: '' })
    writeFileSync(join(folder, `script.${shell}`), ran.out)
  }
  mkdirSync(join(folder, 'certs'))
  writeFileSync(join(folder, 'certs', 'my device.pem'), '')
})
afterAll(() => rmSync(folder, { recursive: true }))

const HELP = '--help'
const OUTPUTS = ['json', 'table', 'tsv', 'none']

/** What was typed, the last word being completed; and everything that is offered, or some of it. */
const cases: readonly (readonly [readonly string[], readonly string[] | { readonly among: readonly string[] }])[] = [
  [['dp'], ['dps']],
  [[''], { among: ['up', 'certs', 'dps', 'hub', 'completion', HELP] }],
  [
    ['dps', 'linked-hub', ''],
    ['list', 'show', 'create', 'update', 'delete', HELP],
  ],
  [
    ['completion', ''],
    ['bash', 'zsh', HELP],
  ],
  [
    ['dps', 'enrollment', 'create', '--at', ''],
    ['x509', 'symmetricKey', 'tpm'],
  ],
  [
    ['dps', 'enrollment', 'create', '--eid', 'x', '--p'],
    ['--primary-key', '--provisioning-status'],
  ],
  [['dps', 'enrollment', 'create', '--eid', ''], []],
  [['dps', 'enrollment', 'show', '--enrollment-id=x', '-o', ''], OUTPUTS],
  [
    ['dps', 'registration', 'explain', '-o', ''],
    ['text', ...OUTPUTS],
  ],
  [['dps', 'enrollment', 'create', '--edge-enabled', ''], { among: ['true', 'false', '--device-id'] }],
  [['dps', 'enrollment', 'create', '--edge-enabled', 'true', '--tp'], []],
  [['dps', 'policy', 'create', '--rights', 'EnrollmentRead', 'Serv'], ['ServiceConfig']],
  [['dps', 'enrollment', 'create', '--certificate-path', 'certs/my'], ['certs/my device.pem']],
  [['certs', 'root', '--out', 'cer'], ['certs']],
  [['dps', 'allocation-policy', 'update', '--policy', 'G'], ['GeoLatency']],
]

const BASH = `source ./script.bash
COMP_WORDS=(muster "$@")
COMP_CWORD=$#
_muster
printf '%s\\n' "\${COMPREPLY[@]}"`

/** The functions of zsh's completion that the script calls, as far as a list without a screen needs them. */
const ZSH = `compdef() { :; }
compset() { :; }
compadd() { shift; print -rl -- $@ | grep -- "^\${words[CURRENT]}" }
_files() { [[ "$1" == -/ ]] && print -rl -- \${words[CURRENT]}*(N/) || print -rl -- \${words[CURRENT]}*(N) }
source ./script.zsh
words=(muster "$@")
CURRENT=\${#words}
_muster`

const offered = (shell: 'bash' | 'zsh', typed: readonly string[]): string[] => {
  const clean = shell === 'bash' ? ['--norc', '--noprofile'] : ['-f']
  const out = execFileSync(shell, [...clean, '-c', shell === 'bash' ? BASH : ZSH, shell, ...typed], {
    cwd: folder,
    encoding: 'utf8',
  })
  return out.split('\n').filter((line) => line !== '')
}

test.each(cases)('bash completes %j', (typed, expected) => {
  const found = offered('bash', typed)
  if ('among' in expected) expect(found).toEqual(expect.arrayContaining([...expected.among]))
  else expect(found).toEqual(expected)
})

test('bash, which takes --option=value apart', () => {
  expect(offered('bash', ['dps', 'enrollment', 'create', '--at', '=', 't'])).toEqual(['tpm'])
  expect(offered('bash', ['dps', 'enrollment', 'create', '--at', '='])).toEqual(['x509', 'symmetricKey', 'tpm'])
})

test.skipIf(!hasZsh).each(cases)('zsh completes %j', (typed, expected) => {
  const found = offered('zsh', typed)
  if ('among' in expected) expect(found).toEqual(expect.arrayContaining([...expected.among]))
  else expect(found).toEqual(expected)
})

test.skipIf(!hasZsh)('zsh at a terminal: the Tab key writes the rest of the word', () => {
  const session = `zmodload zsh/zpty
zpty z 'PS1= zsh -f -i'
zpty -w z "autoload -U compinit; compinit -u -D; source ${folder}/script.zsh; print REA''DY"
zpty -r z seen '*READY*'
zpty -w -n z $'muster dps enrollment-g\\t'
zpty -r z seen '*enrollment-group*'
print -r -- "$seen"
zpty -d z`
  const out = execFileSync('zsh', ['-f', '-c', session], { encoding: 'utf8', timeout: 15_000 })
  expect(out).toContain('muster dps enrollment-group')
})

test('the script does not mention what the help hides', async () => {
  const { out } = await muster(['completion', 'bash'])
  for (const hidden of ['--resource-group', '--subscription', '--credential-policy', "'muster dps compute-device-key'"])
    expect(out).not.toContain(hidden)
})

test('another shell is wrong usage', async () => {
  const ran = await muster(['completion', 'fish'])
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('Allowed choices are bash, zsh')])
})
