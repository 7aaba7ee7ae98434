import { execFile } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster as typed } from '../support/command-line.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'

// The path of a new user: what the README says is typed as it stands there, and every hint that is printed is true.
const root = join(import.meta.dirname, '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const folder = mkdtempSync(join(tmpdir(), 'muster-readme-'))
let muster: MusterProcess

beforeAll(async () => {
  muster = await startProcess(join(folder, 'muster-data'))
  symlinkSync(join(root, 'demo'), join(folder, 'demo'))
  const launcher = join(root, 'bin', 'muster.js')
  writeFileSync(join(folder, 'npx'), `#!/bin/sh\nshift\nexec "${process.execPath}" "${launcher}" "$@"\n`, {
    mode: 0o755,
  })
}, 40_000)
afterAll(async () => {
  await muster.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Types lines into a shell in the new user's folder; `npx muster` is this checkout's. */
async function type(lines: string): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const PATH = [folder, dirname(process.execPath), process.env['PATH']].join(delimiter)
  const options = { cwd: folder, env: { PATH, HOME: folder }, timeout: 60_000 }
  const ran = promisify(execFile)('bash', ['--norc', '-euo', 'pipefail', '-c', lines], options)
  return ran.then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    ({ code, stdout, stderr }) => ({ code: Number(code), out: String(stdout), err: String(stderr) }),
  )
}

const section = (heading: string): string => {
  const start = readme.indexOf(`## ${heading}`)
  return readme.slice(start, readme.indexOf('\n## ', start + 1))
}

const block = (text: string): string => /```sh\n([\s\S]*?)```/.exec(text)?.[1] ?? ''

test('an own device with an own certificate chain', async () => {
  const { code, out, err } = await type(block(section('Your own device, step by step')))
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(out).toContain(`device-1 is device device-1 of hub ${muster.ready.hubs[0]?.hostName}\n`)
  expect(out).toContain('its desired properties: {"interval":5,"$version":1}')
  expect(out).toContain('sent a message, and the hub acknowledged it')
  expect(out).toMatch(/^device-1 .*assigned/m)
  expect(out).toContain('"deviceId": "device-1"')
  expect(out).toMatch(/^device-1: assigned/m)
}, 60_000)

/** Commands in code of a page, and those that messages of the program quote. */
const commandsIn = (text: string, pattern: RegExp): string[] =>
  [...text.replaceAll('\\\n', ' ').matchAll(pattern)].map(([, command = '']) => command.trim())

const pages = ['README.md', ...globSync('docs/*.md', { cwd: root })]
const sources = globSync('src/**/*.ts', { cwd: root }).filter((file) => !/\.(test|contract)\.ts$/.test(file))
const hints = [
  ...pages.flatMap((file) =>
    commandsIn(readFileSync(join(root, file), 'utf8'), /\b(?:muster )+((?:[a-z]|--)[^\n`|;<>)#]*)/g),
  ),
  ...sources.flatMap((file) => commandsIn(readFileSync(join(root, file), 'utf8'), /"muster ([^"$]+)"/g)),
]

test.each([...new Set(hints)])('muster %s: there is such a command, with such options', async (hint) => {
  const [words, options] = [
    /^[a-z][a-z-]*(?: [a-z][a-z-]*)*/.exec(hint)?.[0].split(' ') ?? [],
    hint.match(/ --[a-z-]+/g) ?? [],
  ]
  const { out } = await typed([...words, '--help'])
  const usage = /^Usage: muster (.*)$/m.exec(out)?.[1]?.split(' ') ?? []
  const named = usage.filter((word) => /^[a-z]/.test(word)).map((word) => word.replace(/\|.*/, ''))
  expect(named).toEqual(words.slice(0, named.length))
  if (usage.includes('[command]')) expect(named).toEqual(words)
  for (const option of options) expect(out).toContain(option)
})
