import { randomBytes } from 'node:crypto'

/** Documents of dps.md 6.3, as a service client sends them. */
export interface Attested {
  readonly attestation: object
  readonly [member: string]: unknown
}

export const newKey = (bytes = 64): string => randomBytes(bytes).toString('base64')

/** Twins begin with these where a test looks at them. */
export const initialTwin = { tags: { plant: 'graz' }, properties: { desired: { interval: 30, limits: { high: 80 } } } }

export const clientCertificates = (primary: string, secondary?: string): Attested => ({
  attestation: {
    type: 'x509',
    x509: {
      clientCertificates: {
        primary: { certificate: primary },
        ...(secondary !== undefined && { secondary: { certificate: secondary } }),
      },
    },
  },
})

export const signingCertificates = (primary: string, secondary?: string): Attested => ({
  attestation: {
    type: 'x509',
    x509: {
      signingCertificates: {
        primary: { certificate: primary },
        ...(secondary !== undefined && { secondary: { certificate: secondary } }),
      },
    },
  },
})

export const caReferences = (primary: string, secondary?: string): Attested => ({
  attestation: { type: 'x509', x509: { caReferences: { primary, ...(secondary !== undefined && { secondary }) } } },
})

export const symmetricKeys = (primaryKey: string, secondaryKey: string): Attested => ({
  attestation: { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } },
})
