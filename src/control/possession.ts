import { isoTime } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { type Certificate, CertificateError, readCertificates } from '../crypto/certificates.ts'
import { proveSignedBy } from '../crypto/chains.ts'
import { sameName, shownName } from '../crypto/names.ts'
import { checkSignature } from '../crypto/signatures.ts'

/** Judges what is uploaded: CA certificates, and the proof that somebody holds a CA's key (attestation-crypto.md B4, B5). */

/**
 * One certificate that may issue others: CA:TRUE, or self-signed of version 1, which knows no extensions
 * (attestation-crypto.md B5). Expired ones are taken: whether they still admit devices is the validation's question.
 */
export function readCaCertificate(text: string): Certificate {
  const [certificate, ...others] = read(text, 'properties.certificate')
  if (certificate === undefined || others.length > 0)
    throw refuse('properties.certificate', 'one CA certificate', `${others.length + 1}. Upload each one by itself`)
  const { extensions, version } = certificate
  if (version === 1 && isSelfSigned(certificate)) return certificate
  if (extensions.basicConstraints?.ca !== true)
    throw refuse(
      'properties.certificate',
      'a CA certificate (basicConstraints CA:TRUE, or self-signed of version 1)',
      `${shownName(certificate.subject)}, which is none`,
    )
  if (extensions.keyUsage?.keyCertSign === false)
    throw refuse(
      'properties.certificate',
      'a CA certificate that may sign certificates',
      'a keyUsage without keyCertSign',
    )
  return certificate
}

/** An old root may have signed itself with SHA-1: what is trusted is its key, not that signature. */
const isSelfSigned = (certificate: Certificate): boolean =>
  sameName(certificate.subjectName, certificate.issuerName) &&
  ['valid', 'weak'].includes(checkSignature(certificate, certificate))

/**
 * Proof of possession: a certificate with the code as its CN, signed by the CA's key, valid now. Tools write the chain
 * behind it; only the first certificate counts. Throws a 400 that says what is wrong.
 */
export function readProof(
  text: string,
  ca: { readonly name: string; readonly certificate: Certificate; readonly verificationCode: string | undefined },
  now: number,
): void {
  if (ca.verificationCode === undefined)
    throw new ServiceError(
      400003,
      `The certificate ${ca.name} awaits no proof: its code was used, or none was made. Call generateVerificationCode first.`,
    )
  const [proof] = read(text, 'certificate')
  if (proof === undefined) throw refuse('certificate', 'a verification certificate', 'none')
  // The code is upper-case hex; tools that lower-case it prove the same.
  if (proof.commonName?.toUpperCase() !== ca.verificationCode.toUpperCase())
    throw refuse(
      'certificate',
      'a certificate with the verification code as its subject CN',
      `the subject ${shownName(proof.subject)}`,
    )
  const signed = proveSignedBy(proof, ca.certificate)
  if (!signed.ok)
    throw new ServiceError(
      400004,
      `certificate must be signed by the key of the CA certificate ${ca.name}. ${signed.detail}`,
    )
  if (now < proof.notBefore || now > proof.notAfter)
    throw refuse(
      'certificate',
      `valid now (${isoTime(now)})`,
      `one valid from ${isoTime(proof.notBefore)} to ${isoTime(proof.notAfter)}`,
    )
}

function read(text: string, member: string): Certificate[] {
  const most = limits.certificateBytes * 2
  if (text.length > most) throw refuse(member, `at most ${most} characters`, String(text.length))
  try {
    return readCertificates(text)
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause
    throw new ServiceError(400004, `${member} must be a certificate. ${cause.message}`, { cause })
  }
}

const refuse = (member: string, expected: string, found: string): ServiceError =>
  new ServiceError(400004, `${member} must be ${expected}, found ${found}.`)
