import { createServer } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { tpmCommandsDouble } from '../../tests/support/tpm-commands.ts'

const double = tpmCommandsDouble()
const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.on('data', (command: Buffer) => void double.exchange(command).then((answer) => socket.write(answer)))
})
let device: string

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  device = `tcp:127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
})
afterAll(() => void server.close())

test('without a key nothing is made unless asked for', async () => {
  const ran = await muster(['tpm', '--device', device])
  expect(ran).toMatchObject({ code: 1, out: '' })
  expect(ran.err).toContain('holds no endorsement key at 0x81010001 yet')
  expect(double.persistent.size).toBe(0)
})

test('the registration ID, the endorsement key and its template', async () => {
  const made = await muster(['tpm', '--device', device, '--create'])
  expect(made).toMatchObject({ code: 0, err: '' })
  const shown = await muster(['tpm', '-d', device])
  expect(shown.out).toBe(made.out)
  expect(JSON.parse(shown.out)).toEqual({
    registrationId: expect.stringMatching(/^[a-z2-7]{52}$/),
    endorsementKey: expect.stringMatching(/^AToAAQALAAMAsgAg/),
    storageRootKey: expect.stringMatching(/^ARoAAQALAAMEcg/),
    endorsementKeyTemplate: 'TCG L-1: endorsement hierarchy, unique of 256 zero bytes',
    templateUsedBy: expect.stringContaining('IoT Edge 1.2'),
  })
  expect((await muster(['tpm', '-d', device, '-o', 'table'])).out).toMatch(
    /^Registration ID +Endorsement key +Made from/,
  )
})

test('a key of another origin', async () => {
  const [, storageRootKey] = double.persistent.keys()
  double.persistent.set(0x81010001, double.persistent.get(storageRootKey ?? 0)!)
  const shown = JSON.parse((await muster(['tpm', '-d', device])).out) as Record<string, string>
  expect(shown['endorsementKeyTemplate']).toBe('none of the three that SDKs use')
  expect(shown).not.toHaveProperty('templateUsedBy')
})

test.each([
  [['tpm', '-d', 'nowhere'], 2, /Expected --device as .*, found "nowhere"/],
  [['tpm', '-d', '/nonexistent/tpm0'], 1, /\/nonexistent\/tpm0: .* cannot be opened/],
])('%j is refused', async (words, code, message) => {
  const ran = await muster(words)
  expect(ran.code).toBe(code)
  expect(ran.err).toMatch(message)
})
