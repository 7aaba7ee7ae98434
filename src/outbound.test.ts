import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../tests/support/folders.ts'
import { TestClock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { type Config, ConfigError, defaults, loadConfig } from './config.ts'
import { openOutbound, webhookPost } from './outbound.ts'
import { OutboundError } from './wire/outbound.ts'

const load = (flags: Record<string, string>): Config => loadConfig(undefined, {}, flags, '/srv')

describe('settings', () => {
  test('any host and the public authorities, unless said otherwise', () => {
    expect(load({}).outbound).toEqual({ allow: [], caFile: undefined })
    const flags = { 'outbound-allow': 'a.example, *.b.example:8443,[::1]:80', 'outbound-ca': 'ca.pem' }
    expect(load(flags).outbound).toEqual({
      allow: ['a.example', '*.b.example:8443', '[::1]:80'],
      caFile: '/srv/ca.pem',
    })
  })

  test.each(['https://a.example', 'a.*.example', '*', 'a.example/x'])('%s names no host', (pattern) => {
    expect(() => load({ 'outbound-allow': pattern })).toThrow(ConfigError)
  })

  test('a CA file that is missing or no PEM is named at the start', () => {
    const open = (caFile: string) =>
      openOutbound({ ...defaults, outbound: { allow: [], caFile } }, new TestClock(), Promise.resolve(1))
    const file = join(temporaryFolder(), 'ca.pem')
    expect(() => open(file)).toThrow(/Cannot read the PEM file .*ca\.pem \(outbound-ca\)/)
    writeFileSync(file, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    expect(() => open(file)).toThrow(/Cannot read the PEM file .*ca\.pem \(outbound-ca\)/)
    writeFileSync(file, 'nothing')
    expect(() => open(file)).toThrow(/outbound-ca must be a PEM file of certificates, found none/)
  })
})

test.each([
  ['late', 400207],
  ['oversized', 400207],
  ['forbidden', 400207],
  ['unreachable', 400207],
  ['closed', 503001],
] as const)('a webhook call that is %s', async (kind, code) => {
  const send = () => Promise.reject(new OutboundError(kind, 'words'))
  const thrown = await webhookPost({ send, close: () => {} })(new URL('http://x.example'), '{}').catch(
    (e: unknown) => e,
  )
  expect(thrown).toBeInstanceOf(ServiceError)
  expect(thrown).toMatchObject({ code, message: 'Custom allocation failed: words' })
})
