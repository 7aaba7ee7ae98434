import { expect, test } from 'vitest'
import type { LinkedHubEntry, ProvisioningService } from '../control/control.ts'
import { allocate } from './allocation.ts'
import type { EnrollmentCommon } from './enrollment-document.ts'

const hub = (hostName: string, allocationWeight = 1, applyAllocationPolicy = true): LinkedHubEntry => ({
  hostName,
  allocationWeight,
  applyAllocationPolicy,
})

const service = (
  linkedHubs: readonly LinkedHubEntry[],
  allocationPolicy: ProvisioningService['allocationPolicy'] = 'Hashed',
): ProvisioningService => ({ name: 'dps', linkedHubs, allocationPolicy }) as ProvisioningService

const enrollment = (more: Partial<EnrollmentCommon> = {}): EnrollmentCommon => more as EnrollmentCommon

const [A, B, C] = ['a.example', 'b.example', 'c.example'] as const
const three = service([hub(A), hub(B), hub(C)])

const hubOf = (
  of: ProvisioningService,
  more: Partial<EnrollmentCommon> = {},
  id = 'dev',
  order: readonly string[] = [],
): string | number => {
  const allocation = allocate(of, enrollment(more), id, order)
  if ('ask' in allocation) return `one of ${allocation.ask.join(' ')}`
  return 'hub' in allocation ? allocation.hub : allocation.failure.code
}

/** Share of 20 000 devices per hub. */
function shares(of: ProvisioningService): Record<string, number> {
  const counts: Record<string, number> = {}
  for (let at = 0; at < 20_000; at++) {
    const found = String(hubOf(of, {}, `device-${at}`))
    counts[found] = (counts[found] ?? 0) + 1 / 20_000
  }
  return counts
}

test('hashed spreads evenly, and by weight', () => {
  for (const share of Object.values(shares(three))) expect(share).toBeCloseTo(1 / 3, 1)
  const weighted = shares(service([hub(A, 1), hub(B, 3), hub(C, 6)]))
  expect(weighted[A]).toBeCloseTo(0.1, 1)
  expect(weighted[B]).toBeCloseTo(0.3, 1)
  expect(weighted[C]).toBeCloseTo(0.6, 1)
})

test('a device keeps its hub while the set is unchanged, in whatever order and spelling', () => {
  for (let at = 0; at < 200; at++) {
    const found = hubOf(three, {}, `Device-${at}`)
    expect(hubOf(service([hub(C), hub(A), hub(B)]), {}, `device-${at}`)).toBe(found)
  }
})

test('a new hub only takes devices, a lost one only gives its own away', () => {
  const two = service([hub(A), hub(B)])
  for (let at = 0; at < 1_000; at++) {
    const [before, after] = [hubOf(two, {}, `device-${at}`), hubOf(three, {}, `device-${at}`)]
    if (after !== C) expect(after).toBe(before)
  }
})

test('candidates: the hubs an enrollment names, else those that take part', () => {
  const some = service([hub(A, 1, false), hub(B)])
  expect(hubOf(some)).toBe(B)
  expect(hubOf(some, { iotHubs: [A.toUpperCase()] })).toBe(A)
  expect(hubOf(some, { iotHubHostName: A })).toBe(A)
  expect(hubOf(some, { iotHubs: [C] })).toBe(400208)
  expect(hubOf(service([]))).toBe(400208)
  expect(hubOf(service([hub(A, 1, false)]))).toBe(400208)
})

test('static needs exactly one', () => {
  expect(hubOf(three, { allocationPolicy: 'static', iotHubs: [B] })).toBe(B)
  expect(hubOf(service([hub(A)], 'Static'))).toBe(A)
  expect(hubOf(service([hub(A), hub(B)], 'Static'))).toBe(400208)
  expect(hubOf(service([hub(A), hub(B)], 'Static'), { iotHubs: [B] })).toBe(B)
  expect(hubOf(service([hub(A), hub(B)], 'Static'), { allocationPolicy: 'hashed' })).toMatch(/^[ab]\.example$/)
  // Named in the enrollment, unlinked since.
  expect(hubOf(service([hub(A)]), { allocationPolicy: 'static', iotHubs: [B] })).toBe(400208)
})

test('geoLatency takes the nearest in the given order, and hashes where none is given', () => {
  const geo = service([hub(A), hub(B), hub(C)], 'GeoLatency')
  expect(hubOf(geo, {}, 'dev', [C.toUpperCase(), A])).toBe(C)
  expect(hubOf(geo, {}, 'dev', ['elsewhere.example', A])).toBe(A)
  expect(hubOf(geo, {}, 'dev', ['elsewhere.example'])).toBe(hubOf(three))
  expect(hubOf(three, { allocationPolicy: 'geoLatency' }, 'dev', [B])).toBe(B)
  expect(hubOf(geo, {}, 'dev')).toBe(hubOf(three))
})

test('custom: a webhook is to choose among the hubs of the enrollment, else among all that take part', () => {
  expect(hubOf(three, { allocationPolicy: 'custom' })).toBe(`one of ${A} ${B} ${C}`)
  expect(hubOf(three, { allocationPolicy: 'custom', iotHubs: [B, 'gone.example'] })).toBe(`one of ${B}`)
  expect(hubOf(three, { allocationPolicy: 'custom', iotHubs: ['gone.example'] })).toBe(400208)
})
