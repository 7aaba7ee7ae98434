import { expect, test } from 'vitest'
import { refusal } from '../../tests/support/provisioning.ts'
import { parseQuery } from './query.ts'

const document = {
  registrationId: 'dev',
  provisioningStatus: 'enabled',
  capabilities: { iotEdge: true },
  attestation: { type: 'x509' },
  initialTwin: { tags: { floor: 2, name: "O'Hara", weight: -1.5 } },
}
const admits = (query: string): boolean => parseQuery({ query })(document)

test.each([
  'SELECT *',
  'select   *  ',
  '*',
  'SELECT * FROM enrollments',
  'Select * From Enrollments;',
  'SELECT * FROM device_registrations',
  "{'additional_properties': {}, 'query': 'SELECT *'}",
])('%s means everything', (query) => expect(admits(query)).toBe(true))

test.each([
  ["SELECT * FROM enrollments WHERE provisioningStatus = 'enabled'", true],
  ["SELECT * WHERE provisioningStatus = 'disabled'", false],
  ["SELECT * FROM enrollments WHERE provisioningStatus != 'disabled'", true],
  ["* where PROVISIONINGSTATUS <> 'enabled'", false],
  ['SELECT * WHERE capabilities.iotEdge = true', true],
  ['SELECT * WHERE capabilities.iotEdge = false', false],
  ["SELECT * WHERE attestation.type = 'x509' AND initialTwin.tags.floor = 2", true],
  ["SELECT * WHERE attestation.type = 'x509' AND initialTwin.tags.floor = 3", false],
  ["SELECT * WHERE initialTwin.tags.name = 'O''Hara'", true],
  ['SELECT * WHERE initialTwin.tags.weight = -1.5', true],
  ['SELECT * WHERE deviceId = null', true],
  ['SELECT * WHERE deviceId.deeper.still = null', true],
  ["SELECT * WHERE deviceId = ' and b = 1'", false],
  ['SELECT * WHERE registrationId = "dev"', true],
  ["SELECT * FROM enrollments WHERE deviceId = null and\n registrationId = 'dev' ;", true],
])('%s: %s', (query, expected) => expect(admits(query)).toBe(expected))

test.each([
  [{ query: 'SELECT a FROM enrollments' }, /must be SELECT \*/],
  [{ query: 'DROP TABLE enrollments' }, /must be SELECT \*/],
  [{ query: '' }, /must be SELECT \*/],
  [{ query: 'SELECT * WHERE a > 3' }, /does not read so from "a > 3" on/],
  [{ query: 'SELECT * WHERE' }, /must be SELECT \*/],
  [{ query: "SELECT * WHERE a = 'b' OR c = 'd'" }, /does not read so/],
  [{ query: "SELECT TOP 3 * WHERE a = 'b'" }, /must be SELECT \*/],
  [{ query: 7 }, /query must be a string/],
  [{}, /query must be a value/],
  [undefined, /must be a JSON object/],
  [{ query: `SELECT * ${' '.repeat(5_000)}` }, /at most 4096 characters/],
])('a query is refused rather than half understood: %j', async (specification, message) => {
  const found = await refusal(() => parseQuery(specification))
  expect(found.code).toBe(400004)
  expect(found.message).toMatch(message)
})

test('a hostile text takes no time', () => {
  for (const text of [`SELECT * WHERE ${'a'.repeat(4_000)}`, `SELECT * ${'where a '.repeat(500)}`, ' '.repeat(4_096)]) {
    const start = performance.now()
    expect(() => parseQuery({ query: text })).toThrow()
    expect(performance.now() - start).toBeLessThan(200)
  }
})
