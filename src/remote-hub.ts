import { type Code, codes, ServiceError } from './base/errors.ts'
import { Fields, isObject, type JsonObject } from './base/json.ts'
import { limits } from './base/limits.ts'
import { SERVICE_MEMBERS } from './documents/twin-rules.ts'
import type { Belongings, HubCalls, HubDevice } from './provisioning/linked-hub.ts'
import type { HubAnswer, HubCall, HubClient } from './wire/hub-client.ts'
import { OutboundError } from './wire/outbound.ts'

/**
 * Fulfils provisioning's port to a hub with the service API of a hub somewhere else: another Muster, or Azure's.
 *
 * A device is created together with its twin by one bulk call, so no crash leaves a device without its first twin, and
 * a repeated call finds the device there. `reset` of a device that is there deletes it and creates it again: the
 * service API cannot write reported properties, and a repetition after a crash between the two creates it.
 */
export function remoteHub(hostName: string, client: HubClient): HubCalls {
  const call = async (each: HubCall): Promise<HubAnswer> => {
    try {
      return await client(each)
    } catch (thrown) {
      throw outboundFault(hostName, thrown)
    }
  }

  /** Undefined where `absent` is how the hub refused. */
  async function ask(each: HubCall, absent?: string): Promise<unknown> {
    const answer = await call(each)
    if (isDone(answer)) return answer.body
    if (absent !== undefined && answer.error === absent) return undefined
    throw hubFault(hostName, answer)
  }

  /** False: it is there already. */
  async function create(device: HubDevice): Promise<boolean> {
    const answer = await call({ method: 'POST', path: ['devices'], body: [bulkItem(device)] })
    if (!isDone(answer) && !isBulkResult(answer)) throw hubFault(hostName, answer)
    const result = new Fields(answer.body, `the answer of the linked hub ${hostName}`, 503001)
    const [error] = result.array('errors') ?? []
    if (result.boolean('isSuccessful') === true) {
      await requireTwin(device.deviceId, result)
      return true
    }
    const told = new Fields(error, `errors[0] of the linked hub ${hostName}`, 503001)
    const code = String(told.get('errorCode') ?? '')
    // Older hubs answer with the number.
    if (code === 'DeviceAlreadyExists' || code === '409001') return false
    throw refusedBy(hostName, itemFault(code), excerpt(`${code} ${told.string('errorStatus') ?? ''}`))
  }

  /** A device that lacks its twin goes again, so that the next try makes both. */
  async function requireTwin(deviceId: string, result: Fields): Promise<void> {
    const warnings = result.array('warnings') ?? []
    if (!warnings.some((each) => isObject(each) && each['warningCode'] === 'DeviceRegisteredWithoutTwin')) return
    await remove(deviceId)
    throw refusedBy(hostName, 503001, 'the device was registered without its twin')
  }

  /** The credentials of the device that is there, which stays an Edge device; false: it is gone, or changed meanwhile. */
  async function refresh({ deviceId, authentication, iotEdge }: HubDevice): Promise<boolean> {
    const path = ['devices', deviceId]
    const found = await ask({ method: 'GET', path }, 'DeviceNotFound')
    if (!isObject(found)) return false
    const isEdge = isEdgeDevice(found['capabilities'])
    if ((isEdge || !iotEdge) && admitsSame(found['authentication'], authentication)) return true
    const body = { ...found, authentication, capabilities: { iotEdge: isEdge || iotEdge } }
    const answer = await call({ method: 'PUT', path, ifMatch: `"${String(found['etag'])}"`, body })
    if (answer.status === 412 || answer.error === 'DeviceNotFound') return false
    if (isDone(answer)) return true
    throw hubFault(hostName, answer)
  }

  async function remove(deviceId: string): Promise<void> {
    await ask({ method: 'DELETE', path: ['devices', deviceId], ifMatch: '*' }, 'DeviceNotFound')
  }

  return {
    async provision(device, mode) {
      for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
        if (await create(device)) return attempt === 0 || mode === 'keep' ? 'created' : 'refreshed'
        if (mode === 'reset') await remove(device.deviceId)
        else if (await refresh(device)) return 'refreshed'
      }
      throw refusedBy(hostName, 503001, 'the device changes faster than it can be written')
    },
    async read(deviceId) {
      const twin = await ask({ method: 'GET', path: ['twins', deviceId] }, 'DeviceNotFound')
      return twin === undefined
        ? undefined
        : belongingsOf(new Fields(twin, `the twin in the linked hub ${hostName}`, 503001))
    },
    remove,
  }
}

const isDone = ({ status }: HubAnswer): boolean => status >= 200 && status < 300

/** An item of `POST /devices` (hub-service.md 2.6). */
const bulkItem = ({ deviceId, authentication, iotEdge, status, twin }: HubDevice): JsonObject => ({
  id: deviceId,
  importMode: 'create',
  status: status ?? 'enabled',
  authentication: authentication as unknown as JsonObject,
  capabilities: { iotEdge },
  tags: twin.tags,
  properties: { desired: twin.desired, ...(twin.reported !== undefined && { reported: twin.reported }) },
})

/** A hub may answer a bulk call of which an item failed with 400 and the same body (hub-service.md 2.6). */
const isBulkResult = ({ status, body }: HubAnswer): boolean =>
  status === 400 && isObject(body) && typeof body['isSuccessful'] === 'boolean'

const isEdgeDevice = (capabilities: unknown): boolean => isObject(capabilities) && capabilities['iotEdge'] === true

/** From a device twin, which shows the device's capabilities and status too (hub-service.md 4.2). */
function belongingsOf(twin: Fields): Belongings {
  const properties = twin.fields('properties')
  const section = (name: string): JsonObject =>
    Object.fromEntries(
      Object.entries(properties?.object(name) ?? {}).filter(
        ([member]) => !SERVICE_MEMBERS.some((service) => service === member),
      ),
    )
  return {
    twin: { tags: twin.object('tags') ?? {}, desired: section('desired'), reported: section('reported') },
    iotEdge: isEdgeDevice(twin.get('capabilities')),
    status: twin.oneOf('status', ['enabled', 'disabled']) ?? 'enabled',
  }
}

/** Whether a device document's `authentication` holds these credentials. */
function admitsSame(found: unknown, wanted: HubDevice['authentication']): boolean {
  if (!isObject(found) || found['type'] !== wanted.type) return false
  const [member, values] =
    wanted.type === 'sas'
      ? (['symmetricKey', wanted.symmetricKey] as const)
      : (['x509Thumbprint', wanted.x509Thumbprint] as const)
  const held = found[member]
  return isObject(held) && Object.entries(values).every(([name, value]) => (held[name] ?? null) === value)
}

/** What fails one item may pass as well as what fails a call: a full disk of another Muster comes so. */
function itemFault(errorCode: string): Code {
  const known = Object.entries(codes).find(([number, name]) => number === errorCode || name === errorCode)
  const status = Math.floor(Number(known?.[0] ?? 0) / 1000)
  if (status === 429) return 429001
  return status >= 500 ? 503001 : 400004
}

function hubFault(hostName: string, { status, error, message }: HubAnswer): ServiceError {
  const what = excerpt([String(status), error, message].filter((part) => part !== undefined && part !== '').join(' '))
  if (status === 429) return refusedBy(hostName, 429001, what)
  if (status >= 500) return refusedBy(hostName, 503001, what)
  if (error === 'IotHubQuotaExceeded') return refusedBy(hostName, 403002, what)
  if (status === 401 || status === 403)
    return refusedBy(hostName, 400209, `${what}. Link it with a policy that has RegistryWrite and ServiceConnect`)
  // Anything else would be answered alike the next time, a redirect too: none is followed.
  return refusedBy(hostName, 400004, what)
}

/** It stands in the record of the registration, and every poll repeats it. */
const excerpt = (told: string): string => told.slice(0, limits.answerExcerpt)

/** Codes of dps.md 1.6; 429 and 5xx are tried again. */
const refusedBy = (hostName: string, code: Code, what: string): ServiceError =>
  new ServiceError(code, `the linked hub ${hostName} answered: ${what}.`)

function outboundFault(hostName: string, thrown: unknown): unknown {
  if (!(thrown instanceof OutboundError)) return thrown
  const code: Code = thrown.kind === 'forbidden' ? 400209 : 503001
  return new ServiceError(code, `the linked hub ${hostName} cannot be asked: ${thrown.message}`, { cause: thrown })
}
