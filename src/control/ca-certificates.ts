import type { IfMatch } from '../base/etags.ts'
import type { Certificate } from '../crypto/certificates.ts'
import type { Owner } from './documents.ts'

/** An uploaded CA certificate (dps.md 7.3). */
export interface CaCertificate {
  readonly name: string
  readonly certificate: Certificate
  readonly isVerified: boolean
  /** While a proof of possession is awaited. */
  readonly verificationCode: string | undefined
  readonly etag: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly updatedAt: number
}

export interface CertificateInput {
  /** PEM, DER in base64, or PEM in base64: exactly one CA certificate. */
  readonly certificate: string
  /** True: taken as verified without proof ("verify now"). Default false. */
  readonly isVerified?: boolean
}

/** The verified certificates of one owner, in the order of their names. */
export interface TrustedCertificates {
  /** Changes with every change of the owner's certificates: what caches of verdicts are keyed by. */
  readonly version: string
  readonly certificates: readonly { readonly name: string; readonly certificate: Certificate }[]
}

export interface Certificates {
  list(owner: Owner): Promise<readonly CaCertificate[]>
  get(owner: Owner, name: string): Promise<CaCertificate | undefined>
  /** Creates, or with If-Match replaces: that forgets verification and code. */
  put(owner: Owner, name: string, input: CertificateInput, ifMatch: IfMatch): Promise<CaCertificate>
  /** If-Match required. */
  remove(owner: Owner, name: string, ifMatch: IfMatch): Promise<void>
  /** If-Match required; a new code replaces the one before. */
  generateVerificationCode(owner: Owner, name: string, ifMatch: IfMatch): Promise<CaCertificate>
  /** If-Match required; `certificate` is signed by the CA's key and has the code as its CN. */
  verify(owner: Owner, name: string, certificate: string, ifMatch: IfMatch): Promise<CaCertificate>
  trusted(owner: Owner): Promise<TrustedCertificates>
}
