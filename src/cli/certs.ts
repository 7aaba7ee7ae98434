import { type Command, Option } from 'commander'
import { days } from './options.ts'
import type { Register } from './program.ts'

/**
 * `muster certs …`: test certificates under the file names of the IoT Edge script (edge.md 8.1), whose command names
 * work as well, so that its documents can be followed word by word.
 */
export const certsCommand: Register = (program, environment) => {
  const certs = program
    .command('certs')
    .description('make test certificates: a root CA, intermediates, device identities, proof of possession')
    .addHelpText('after', '\nThey are for tests and demonstrations. Keys are written unencrypted, mode 0600.')
  const making = () => import('./certificate-files.ts')

  folderOptions(
    certs
      .command('create-root-and-intermediate')
      .alias('create_root_and_intermediate')
      .description('a root CA and one intermediate below it'),
  ).action(async (options) => (await making()).createRootAndIntermediate(options, environment))

  folderOptions(certs.command('root').description('a root CA'))
    .option('--cn, --common-name <name>', 'its common name', 'Azure_IoT_Hub_CA_Cert_Test_Only')
    .action(async (options) => (await making()).createRoot(options, environment))

  folderOptions(certs.command('intermediate [name]').description('an intermediate CA (default name: intermediate)'))
    .option('--issuer <name>', 'the CA that signs it: root, or the name of an intermediate', 'root')
    .option('--cn, --common-name <name>', 'its common name')
    .action(async (name, options) => (await making()).createIntermediate(name ?? 'intermediate', options, environment))

  folderOptions(
    certs
      .command('device <name>')
      .alias('create_edge_device_identity_certificate')
      .description('the identity certificate of a device; the name becomes its common name'),
  )
    .option('--issuer <name>', 'the CA that signs it: root, or the name of an intermediate', 'intermediate')
    .option('--self-signed', 'signed by its own key, for an individual enrollment')
    .action(async (name, options) => (await making()).createDevice(name, options, environment))

  outOptions(
    certs
      .command('verification <code>')
      .alias('create_verification_certificate')
      .description('the certificate that proves possession of a CA’s key, for a verification code'),
  )
    .option('--issuer <name>', 'the CA whose possession is proved: root, or the name of an intermediate', 'root')
    .action(async (code, options) => (await making()).createVerification(code, options, environment))
}

const outOptions = (command: Command): Command =>
  command
    .option('--out <folder>', 'folder that gets certs/ and private/', '.')
    .option('--force', 'replace files that exist')

const folderOptions = (command: Command): Command =>
  outOptions(command)
    .addOption(new Option('--key-type <type>', 'P-256 or RSA keys').choices(['ec', 'rsa']).default('ec'))
    .option('--days <number>', 'days of validity', days, 30)
