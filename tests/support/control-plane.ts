import type { TestMuster } from './muster.ts'
import type { Answer, Call } from './rest.ts'

/** The management API of a running Muster: the control plane's shapes (dps.md 7, hub-service.md 11). */
export async function manage(muster: TestMuster, method: string, path: string, call: Call = {}): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${muster.addresses.ports.management}${path}`, {
    method,
    headers: {
      Authorization: `Bearer ${muster.app.managementToken}`,
      ...(call.body !== undefined && { 'Content-Type': 'application/json' }),
      ...call.headers,
    },
    ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
  })
  const text = await response.text()
  const body = text === '' ? undefined : (JSON.parse(text) as unknown)
  return { status: response.status, headers: Object.fromEntries(response.headers), text, body }
}

/** The same where only success will do. */
export async function managed(muster: TestMuster, method: string, path: string, call: Call = {}): Promise<unknown> {
  const { status, body, text } = await manage(muster, method, path, call)
  if (status >= 300) throw new Error(`${method} ${path} was answered ${status}: ${text}`)
  return body
}

/** Uploads a CA certificate to the provisioning service, as verified or not (dps.md 7.3). */
export async function uploadCa(
  muster: TestMuster,
  name: string,
  pem: string,
  { verified = true, service = muster.addresses.dps.name } = {},
): Promise<void> {
  const certificate = Buffer.from(pem).toString('base64')
  await managed(muster, 'PUT', `/provisioningServices/${service}/certificates/${name}`, {
    body: { properties: { certificate, isVerified: verified } },
  })
}
