import { constants } from 'node:crypto'
import type { TlsOptions } from 'node:tls'

/**
 * How every listener asks for client certificates: requested, not required, not verified; judging the presented chain
 * is the application's task (attestation-crypto.md B2).
 */
export const presentedChainOptions = {
  requestCert: true,
  rejectUnauthorized: false,
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  // A resumed session shows the leaf without its intermediates; without tickets nothing resumes, and a full handshake
  // is 25 % cheaper (trap 2).
  secureOptions: constants.SSL_OP_NO_TICKET,
  // No `ca`: its names would be sent to clients, and some (SChannel, Java) then withhold their certificate (trap 3).
} as const satisfies TlsOptions
