import { ServiceError } from '../base/errors.ts'
import { Fields } from '../base/json.ts'
import { sameId, shown } from './ids.ts'

export type Transport = 'HTTPS' | 'MQTT' | 'MQTT over WebSocket'

/** Who a device says it is, and what it shows for it. */
export type Claim = {
  readonly idScope: string
  readonly registrationId: string
  /** Request id under which the reason of a refusal is logged, and its trace found. */
  readonly trackingId?: string
  /** For the trace: how the device reached us. */
  readonly transport?: Transport
  /** Whom ceilings count: an IPv4 address, an IPv6 /64. */
  readonly source?: string
} & (
  | {
      readonly kind: 'x509'
      /** The certificates presented in TLS: DER, leaf first. */
      readonly chain: readonly Buffer[]
    }
  | {
      readonly kind: 'sas'
      /** `SharedAccessSignature …` as it was sent. */
      readonly token: string
    }
  | { readonly kind: 'none' }
)

/** What a device asks for (dps.md 1.3), read by `parseRegisterBody`. */
export interface RegisterBody {
  readonly registrationId?: string
  /** For the custom allocation webhook; accepted and dropped without one (dps.md 5.4). */
  readonly payload?: unknown
  readonly tpm?: { readonly endorsementKey: string; readonly storageRootKey?: string }
  /** `csr`, or `clientCertificateCsr` of the older preview (dps.md 9.1). */
  readonly csr?: string
}

/**
 * Reads the JSON that a device sent with register or look-up; undefined is an empty body, which several clients send
 * because their credential names them already (dps.md 2.4, users-and-lessons.md 6). Unknown members are ignored.
 *
 * @param value the parsed body
 * @param registrationId the id that the path, user name or link address names
 */
export function parseRegisterBody(value: unknown, registrationId: string): RegisterBody {
  if (value === undefined || value === null) return {}
  const body = new Fields(value, 'body')
  const named = body.string('registrationId')
  if (named !== undefined && !sameId(named, registrationId))
    throw new ServiceError(
      400202,
      `body.registrationId must be the registration id that the request is for, ${shown(registrationId)}, or absent; found ${shown(named)}.`,
    )
  const payload = body.get('payload')
  const tpm = parseTpm(body)
  const csr = body.string('csr') ?? body.string('clientCertificateCsr')
  return {
    ...(named !== undefined && { registrationId: named }),
    ...(payload !== undefined && { payload }),
    ...(tpm !== undefined && { tpm }),
    ...(csr !== undefined && csr !== '' && { csr }),
  }
}

function parseTpm(body: Fields): RegisterBody['tpm'] {
  const tpm = body.fields('tpm')
  if (tpm === undefined) return undefined
  const storageRootKey = tpm.string('storageRootKey')
  return {
    endorsementKey: tpm.required('endorsementKey', tpm.string('endorsementKey')),
    ...(storageRootKey !== undefined && { storageRootKey }),
  }
}
