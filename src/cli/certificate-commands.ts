import { type Command, Option } from 'commander'
import type { Environment } from './environment.ts'
import type { Resource } from './management.ts'
import { addSpelled, etagOption, flagOption } from './options.ts'

/**
 * The words of `certificate …`, the same for provisioning services and hubs.
 * @param target adds the options that lead to the management API and name the instance, as `dpsName` or `hubName`
 */
export function certificateCommands(
  parent: Command,
  kind: Resource,
  target: (command: Command) => Command,
  environment: Environment,
): void {
  const certificate = parent.command('certificate').description('CA certificates and their proof of possession')
  const certificates = () => import('./certificates.ts')
  const named = (name: string, description: string): Command =>
    addSpelled(
      target(certificate.command(name).description(description)),
      new Option('-n, --certificate-name <name>', 'friendly name of the certificate').makeOptionMandatory(),
      '--name',
    )
  const upload = (name: string, description: string): Command =>
    named(name, description)
      .requiredOption('-p, --path <file>', 'the certificate, PEM or DER')
      .addOption(flagOption('-v, --verified', 'trust it at once, without proof of possession'))
      .addOption(etagOption())
  target(certificate.command('list').description('list CA certificates')).action(async (options) =>
    (await certificates()).listCertificates(kind, options, environment),
  )
  named('show', 'show a CA certificate').action(async (options) =>
    (await certificates()).showCertificate(kind, options, environment),
  )
  upload('create', 'upload a CA certificate; it is trusted once its possession is proved').action(async (options) =>
    (await certificates()).createCertificate(kind, options, environment),
  )
  upload('update', 'replace a CA certificate by another; its possession is to be proved again').action(
    async (options) => (await certificates()).updateCertificate(kind, options, environment),
  )
  named('delete', 'delete a CA certificate')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).deleteCertificate(kind, options, environment))
  named('generate-verification-code', 'get the code that a verification certificate must carry as its common name')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).generateVerificationCode(kind, options, environment))
  named('verify', 'prove possession with a certificate that the CA signed for the verification code')
    .requiredOption('-p, --path <file>', 'the verification certificate, PEM or DER')
    .addOption(etagOption())
    .action(async (options) => (await certificates()).verifyCertificate(kind, options, environment))
}
