import type { TestMuster } from './muster.ts'
import type { Call } from './rest.ts'

/** One call of the management API where only success will do; answers with the JSON of the answer. */
export async function managed(muster: TestMuster, method: string, path: string, call: Call = {}): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${muster.addresses.ports.management}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${muster.app.managementToken}`,
      ...(call.body !== undefined && { 'content-type': 'application/json' }),
      ...call.headers,
    },
    ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`Expected success of ${method} ${path}, found ${response.status}: ${text}`)
  return text === '' ? undefined : JSON.parse(text)
}

/** Uploads a CA certificate (PEM) to the provisioning service, as verified unless told otherwise. */
export async function uploadCa(
  muster: TestMuster,
  name: string,
  certificate: string,
  { verified = true }: { readonly verified?: boolean } = {},
): Promise<unknown> {
  const properties = { certificate: Buffer.from(certificate).toString('base64'), isVerified: verified }
  const path = `/provisioningServices/${muster.addresses.dps.name}/certificates/${encodeURIComponent(name)}`
  return managed(muster, 'PUT', path, { body: { properties } })
}
