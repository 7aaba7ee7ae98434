import { expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'

// Mission P10.
const GROUP_KEY = '8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=='
const REGISTRATION_ID = 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6'
const DEVICE_KEY = 'Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=\n'

test('derives the key of the documents’ own example, from standard input', async () => {
  const ran = await muster(['derive-key', '--registration-id', REGISTRATION_ID], { input: `${GROUP_KEY}\n` })
  expect(ran).toEqual({ code: 0, out: DEVICE_KEY, err: '' })
})

test('and from the command line', async () => {
  const ran = await muster(['derive-key', '--rid', REGISTRATION_ID, '--key', GROUP_KEY])
  expect(ran).toEqual({ code: 0, out: DEVICE_KEY, err: '' })
})

test('a key that is not one is refused without being repeated', async () => {
  const ran = await muster(['derive-key', '--rid', 'd1', '--key', 'not-a-key'])
  expect(ran.code).toBe(2)
  expect(ran.err).toMatch(/^muster: Expected the group key as base64 of 16 to 64 bytes/)
  expect(ran.err).not.toContain('not-a-key')
})

test('without a key and without standard input it says how to give one', async () => {
  const ran = await muster(['derive-key', '--rid', 'd1'])
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain('on standard input')
})

test('without a registration ID it is wrong usage', async () => {
  const ran = await muster(['derive-key', '--key', GROUP_KEY])
  expect(ran.code).toBe(2)
  expect(ran.err).toContain("required option '--rid, --registration-id <id>' not specified")
})
