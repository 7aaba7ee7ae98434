import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { masked, wordsOf } from '../support/az-examples.ts'
import { stopClean } from '../support/clean-stop.ts'
import { type Ran, muster as runMuster, writeReadyFile } from '../support/command-line.ts'
import { manage } from '../support/control-plane.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Rest, restOf } from '../support/rest.ts'

// Every example of Microsoft's documentation of `az iot hub` (the help of azure-cli and of its extension azure-iot),
// typed with `muster` in place of `az iot`, does the same; those that belong to what is not built are refused by name.

interface Example {
  /** As Microsoft writes it, without `az iot`. */
  readonly az: string
  /** What stands for its placeholders here, besides the hub. */
  readonly where?: Readonly<Record<string, string>>
  /** What must be there before: commands of ours, which must succeed. */
  readonly given?: readonly string[]
}

interface Played {
  readonly words: readonly string[]
  readonly ran: Ran
}

let muster: TestMuster
let hub: Rest
let readyFile: string
let cwd: string
const everything: Played[] = []
const keys = new Set<string>()
/** Of certificates, by their names. */
const etags = new Map<string, string>()

beforeAll(async () => {
  muster = await startMuster()
  hub = restOf(muster, hubOf(muster).connectionString)
  readyFile = writeReadyFile(muster)
  cwd = join(muster.folder, 'examples')
  mkdirSync(cwd)
})
afterAll(() => stopClean(muster))

/** Every symmetric key that exists at this moment, of hubs, devices and modules. */
async function rememberKeys(): Promise<void> {
  const documents: unknown[] = []
  for (const name of ['muster-hub', 'Tagged'])
    for (const [method, path] of [
      ['POST', `/IotHubs/${name}/listkeys`],
      ['GET', `/muster/hubs/${name}/devices`],
    ] as const)
      documents.push((await manage(muster, method, path)).body)
  for (const owner of ['keys-1', 'owner']) documents.push((await hub('GET', `/devices/${owner}/modules`)).body)
  for (const [, key] of JSON.stringify(documents).matchAll(/"(?:primary|secondary)Key":"([^"]+)"/g)) keys.add(key!)
}

async function run(line: string): Promise<Played> {
  const typed = wordsOf(line)
  const named = typed[typed.indexOf('--name') + 1] ?? ''
  const words = typed.map((word) => (word === 'AAAAAAAAAAA=' ? (etags.get(named) ?? word) : word))
  const ran = await runMuster(words, { readyFile, cwd })
  if (ran.code !== 2) await rememberKeys()
  await rememberCertificate(named, ran.out)
  return { words, ran }
}

/** Its etag; and the proof that the code of a certificate asks for, made with our own command. */
async function rememberCertificate(named: string, out: string): Promise<void> {
  const answer = out.startsWith('{')
    ? (JSON.parse(out) as { etag?: string; properties?: { verificationCode?: string } })
    : {}
  if (answer.etag !== undefined) etags.set(named, answer.etag)
  const code = answer.properties?.verificationCode
  if (code !== undefined)
    await runMuster(['certs', 'verification', code, '--issuer', 'intermediate', '--force'], { cwd })
}

async function play(name: string, examples: readonly Example[]): Promise<void> {
  const said: string[] = []
  for (const { az, where, given = [] } of examples) {
    for (const line of given) expect((await run(line)).ran, line).toMatchObject({ code: 0 })
    const places = Object.entries({
      '{iothub_name}': 'muster-hub',
      MyIotHub: 'muster-hub',
      MyIoTHub: 'muster-hub',
      ...where,
    })
    const line = places.reduce((text, [place, value]) => text.replaceAll(place, value), az)
    const played = await run(line)
    everything.push(played)
    const { out, err, code } = played.ran
    const told = err === '' ? '' : `! ${err}`
    said.push(
      `$ muster ${line}\n${masked(out)}${masked(told).replaceAll(cwd, '<folder>')}${code === 0 ? '' : `exit ${code}\n`}`,
    )
  }
  const file = join(import.meta.dirname, '..', 'golden', 'cli', `az-hub-${name}.txt`)
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, said.join('\n'))
  expect(said.join('\n'), 'UPDATE_GOLDEN=1 rewrites it').toBe(readFileSync(file, 'utf8'))
}

const device = (id: string, more = '') => `hub device-identity create -n muster-hub -d ${id} ${more} -o none`
const module = (deviceId: string, id: string) =>
  `hub module-identity create -n muster-hub -d ${deviceId} -m ${id} -o none`
const scopeAsDocumented = "'ms-azure-iot-edge://edge0-123456789123456789'"

test('hubs', () =>
  play('hubs', [
    { az: 'hub list' },
    { az: 'hub list --resource-group MyGroup' },
    { az: 'hub show --name MyIoTHub' },
    { az: 'hub create --resource-group MyResourceGroup --name Free --sku F1 --partition-count 2' },
    { az: 'hub create --resource-group MyResourceGroup --name Tagged --location westus --tags a=b c=d' },
    {
      az: 'hub create --resource-group MyResourceGroup --name MyIotHub --location westus --mi-system-assigned --role "Storage Blob Data Contributor" --scopes {resourceId}',
    },
    {
      az: 'hub create --resource-group MyResourceGroup --name MyIotHub --location westus --disable-local-auth --disable-device-sas --disable-module-sas',
    },
    { az: 'hub create --resource-group MyResourceGroup --name MyIoTHub --edr' },
    { az: 'hub create --resource-group MyResourceGroup --name MyIoTHub' },
    { az: 'hub delete --name Free --resource-group MyResourceGroup' },
    { az: 'hub list --query "[].name" -o tsv' },
    { az: 'hub list -o table' },
  ]))

test('connection strings of hubs', () =>
  play('connection-strings', [
    { az: 'hub connection-string show' },
    { az: 'hub connection-string show --resource-group MyResourceGroup' },
    { az: 'hub connection-string show -n MyIotHub --all' },
    { az: 'hub connection-string show -n MyIotHub' },
    { az: 'hub connection-string show -n MyIotHub --policy-name service --key-type secondary' },
    { az: 'hub connection-string show -n MyIotHub --default-eventhub' },
    { az: 'hub show-connection-string --name MyIotHub' },
    { az: 'hub show-connection-string --name MyIotHub --policy-name service --key secondary' },
    { az: 'hub show-connection-string --resource-group MyResourceGroup' },
    { az: 'hub show-connection-string' },
    { az: 'hub show-connection-string --key primary --policy-name MyPolicy' },
  ]))

test('shared access policies', () =>
  play('policies', [
    {
      az: 'hub policy create --hub-name MyIotHub --name new-policy --permissions RegistryWrite ServiceConnect DeviceConnect',
    },
    { az: 'hub policy list --hub-name MyIotHub --resource-group MyResourceGroup' },
    { az: 'hub policy show --hub-name MyIotHub --name new-policy' },
    { az: 'hub policy renew-key --hub-name MyIotHub --name new-policy --rk Primary' },
    { az: 'hub policy delete --hub-name MyIotHub --name new-policy' },
    { az: 'hub policy show --hub-name MyIotHub --name new-policy' },
  ]))

const ROOT = 'certs/azure-iot-test-only.root.ca.cert.pem'
const INTERMEDIATE = 'certs/azure-iot-test-only.intermediate.cert.pem'
const PROOF = 'certs/iot-device-verification-code.cert.pem'

test('CA certificates', () =>
  play('certificates', [
    {
      az: 'hub certificate create --hub-name MyIotHub --name MyVerified --path /certificates/Certificate.pem --verified',
      where: { '/certificates/Certificate.pem': ROOT },
      given: ['certs create-root-and-intermediate'],
    },
    {
      az: 'hub certificate create --hub-name MyIotHub --name MyCertificate --path /certificates/Certificate.cer',
      where: { '/certificates/Certificate.cer': INTERMEDIATE },
    },
    { az: 'hub certificate list --hub-name MyIotHub --query "[].{name:name, verified:properties.isVerified}"' },
    { az: 'hub certificate show --hub-name MyIotHub --name MyCertificate -o table' },
    { az: 'hub certificate generate-verification-code --hub-name MyIotHub --name MyCertificate --etag AAAAAAAAAAA=' },
    {
      az: 'hub certificate verify --hub-name MyIotHub --name MyCertificate --path /certificates/Verification.pem --etag AAAAAAAAAAA=',
      where: { '/certificates/Verification.pem': PROOF },
    },
    {
      az: 'hub certificate update --hub-name MyIotHub --name MyVerified --path /certificates/NewCertificate.pem --etag AAAAAAAAAAA=',
      where: { '/certificates/NewCertificate.pem': INTERMEDIATE },
    },
    { az: 'hub certificate delete --hub-name MyIotHub --name MyCertificate --etag AAAAAAAAAAA=' },
    { az: 'hub certificate show --hub-name MyIotHub --name MyCertificate' },
  ]))

test('device identities: create, show, list, delete', () =>
  play('device-identity', [
    { az: 'hub device-identity create -n {iothub_name} -d {device_id} --ee', where: { '{device_id}': 'edge0' } },
    {
      az: 'hub device-identity create -n {iothub_name} -d {device_id} --am x509_thumbprint --valid-days 10',
      where: { '{device_id}': 'ten-days' },
    },
    {
      az: 'hub device-identity create -n {iothub_name} -d {device_id} --am x509_thumbprint --output-dir /path/to/output',
      where: { '{device_id}': 'kept', '/path/to/output': 'certs' },
    },
    {
      az: 'hub device-identity create -n {iothub_name} -d {device_id} --am x509_thumbprint --output-dir /path/to/output',
      where: { '{device_id}': 'nowhere' },
    },
    {
      az: 'hub device-identity create -n {iothub_name} -d {device_id} --am x509_thumbprint --ptp {thumbprint_1} --stp {thumbprint_2}',
      where: { '{device_id}': 'by-thumbprint', '{thumbprint_1}': 'A'.repeat(40), '{thumbprint_2}': 'b'.repeat(64) },
    },
    {
      az: "hub device-identity create -n {iothub_name} -d {device_id} --am x509_ca --status disabled --status-reason 'for reasons'",
      where: { '{device_id}': 'by-ca' },
    },
    {
      az: `hub device-identity create -n {iothub_name} -d {device_id} --device-scope ${scopeAsDocumented}`,
      where: { '{device_id}': 'below' },
    },
    { az: 'hub device-identity create --device-id myDevice --hub-name {iothub_name} --output table' },
    { az: 'hub device-identity create --device-id myDevice --hub-name {iothub_name}' },
    { az: 'hub device-identity show -d myDevice -n {iothub_name}' },
    { az: 'hub device-identity show --device-id myDevice --hub-name {iothub_name} --show-keys' },
    { az: 'hub device-identity list -n {iothub_name} -o table' },
    { az: 'hub device-identity list -n {iothub_name} --ee --query "[].deviceId"' },
    { az: 'hub device-identity list -n {iothub_name} --top 2 --query "[].[deviceId, status]" -o tsv' },
    { az: 'hub device-identity connection-string show --device-id myDevice --hub-name {iothub_name} --output table' },
    { az: 'hub device-identity connection-string show -d myDevice -n {iothub_name} --kt secondary' },
    { az: 'hub device-identity connection-string show -d by-ca -n {iothub_name} --query connectionString -o tsv' },
    { az: 'hub device-identity delete -d myDevice -n {iothub_name}' },
    { az: 'hub device-identity show -d myDevice -n {iothub_name}' },
  ]))

test('device identities: update', () =>
  play('device-identity-update', [
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --set capabilities.iotEdge=true',
      where: { '{device_id}': 'update-1' },
      given: [device('update-1')],
    },
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --ee',
      where: { '{device_id}': 'update-2' },
      given: [device('update-2')],
    },
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --set status=disabled',
      where: { '{device_id}': 'update-1' },
    },
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --status disabled',
      where: { '{device_id}': 'update-2' },
    },
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --set status=disabled capabilities.iotEdge=true',
      where: { '{device_id}': 'update-3' },
      given: [device('update-3')],
    },
  ]))

test('device identities: keys', () =>
  play('device-identity-renew-key', [
    {
      az: 'hub device-identity renew-key -d {device_id} -n {iothub_name} --kt primary',
      where: { '{device_id}': 'keys-1' },
      given: [device('keys-1'), device('keys-2', '--ee'), module('keys-1', 'm')],
    },
    {
      az: 'hub device-identity renew-key -d {device_id} -n {iothub_name} --kt swap',
      where: { '{device_id}': 'keys-1' },
    },
    { az: 'hub device-identity renew-key -d keys-1 keys-2 -n {iothub_name} --kt secondary --include-modules' },
    { az: 'hub device-identity renew-key -d * -n {iothub_name} --kt both' },
  ]))

test('device identities: parents and children', () =>
  play('device-identity-families', [
    {
      az: 'hub device-identity parent set -d {device_id} --pd {edge_device_id} -n {iothub_name}',
      where: { '{device_id}': 'leaf-1', '{edge_device_id}': 'gate-1' },
      given: [
        device('gate-1', '--ee'),
        device('gate-2', '--ee'),
        device('leaf-1'),
        device('leaf-2'),
        device('leaf-test-3'),
        device('gate-test-4', '--ee'),
      ],
    },
    { az: 'hub device-identity parent show -d {device_id} -n {iothub_name}', where: { '{device_id}': 'leaf-1' } },
    { az: 'hub device-identity parent set -d leaf-1 --pd gate-2 -n {iothub_name}' },
    {
      az: 'hub device-identity parent set -d {device_id} --pd {edge_device_id} -n {iothub_name} --force',
      where: { '{device_id}': 'leaf-1', '{edge_device_id}': 'gate-2' },
    },
    {
      az: 'hub device-identity children add -d {edge_device_id} --child-list {child_device_id_1} {child_device_id_2} -n {iothub_name}',
      where: { '{edge_device_id}': 'gate-1', '{child_device_id_1}': 'leaf-2', '{child_device_id_2}': 'leaf-test-3' },
    },
    {
      az: 'hub device-identity children add -d {edge_device_id} --child-list {child_device_id_1} {child_device_id_2} -n {iothub_name} -f',
      where: { '{edge_device_id}': 'gate-1', '{child_device_id_1}': 'leaf-1', '{child_device_id_2}': 'gate-test-4' },
    },
    {
      az: 'hub device-identity children list -d {edge_device_id} -n {iothub_name}',
      where: { '{edge_device_id}': 'gate-1' },
    },
    {
      az: `hub device-identity children list -d {edge_device_id} -n {iothub_name} --query "[?contains(@,'test')]"`,
      where: { '{edge_device_id}': 'gate-1' },
    },
    { az: 'hub device-identity children list -d gate-1 -n {iothub_name} -o table' },
    {
      az: 'hub device-identity children remove -d {edge_device_id} --child-list {space_separated_device_id} -n {iothub_name}',
      where: { '{edge_device_id}': 'gate-1', '{space_separated_device_id}': 'leaf-1 leaf-2' },
    },
    {
      az: 'hub device-identity children remove -d {edge_device_id} --remove-all',
      // Several hubs are here: one must be named, as with az.
      where: { '{edge_device_id}': 'gate-1 -n muster-hub' },
    },
    { az: 'hub device-identity children list -d gate-1 -n {iothub_name}' },
    {
      az: 'hub device-identity children remove -d {edge_device_id} --remove-all',
      // Several hubs are here: one must be named, as with az.
      where: { '{edge_device_id}': 'gate-1 -n muster-hub' },
    },
    { az: 'hub device-identity parent show -d {device_id} -n {iothub_name}', where: { '{device_id}': 'leaf-1' } },
  ]))

test('module identities', () =>
  play('module-identity', [
    { az: 'hub module-identity create -n {iothub_name} -d owner -m m1', given: [device('owner')] },
    { az: 'hub module-identity create -n {iothub_name} -d owner -m m2 --am x509_ca' },
    { az: 'hub module-identity show -n {iothub_name} -d owner -m m1' },
    { az: 'hub module-identity list -n {iothub_name} -d owner -o table' },
    {
      az: 'hub module-identity update -m {module_name} -d {device_id} -n {iothub_name} --set authentication.symmetricKey.primaryKey="" authentication.symmetricKey.secondaryKey=""',
      where: { '{module_name}': 'm1', '{device_id}': 'owner' },
    },
    {
      az: 'hub module-identity renew-key -m {module_name} -d {device_id} -n {iothub_name} --kt primary',
      where: { '{module_name}': 'm1', '{device_id}': 'owner' },
    },
    {
      az: 'hub module-identity renew-key -m {module_name} -d {device_id} -n {iothub_name} --kt swap',
      where: { '{module_name}': 'm1', '{device_id}': 'owner' },
    },
    {
      az: 'hub module-identity renew-key -m m1 m3 -d {device_id} -n {iothub_name} --kt secondary',
      where: { '{device_id}': 'owner' },
      given: [module('owner', 'm3')],
    },
    {
      az: 'hub module-identity renew-key -m * -d {device_id} -n {iothub_name} --kt both',
      where: { '{device_id}': 'owner' },
    },
    { az: 'hub module-identity connection-string show -m m1 -d owner -n {iothub_name}' },
    { az: 'hub module-identity connection-string show -m m2 -d owner -n {iothub_name}' },
    { az: 'hub module-identity delete -m m1 -d owner -n {iothub_name}' },
    { az: 'hub module-identity show -n {iothub_name} -d owner -m m1' },
  ]))

test('what is not built yet is refused by name', () =>
  play('not-built', [
    { az: 'hub update -n MyIotHub --sku S2' },
    { az: 'hub wait -n MyIoTHub --created' },
    { az: 'hub manual-failover -n myhub' },
    { az: 'hub show-stats --name MyIoTHub' },
    { az: 'hub show-quota-metrics --name MyIoTHub' },
    { az: 'hub list-skus --name MyIoTHub' },
    { az: 'hub identity show --name MyIoTHub --resource-group MyResourceGroup' },
    { az: 'hub devicestream show -n MyIotHub' },
    { az: 'hub consumer-group create --hub-name MyIotHub --name cg1' },
    { az: 'hub message-enrichment list -n {iothub_name}' },
    { az: 'hub message-route list -n {iothub_name}' },
    { az: 'hub message-endpoint list -n {iothub_name}' },
    { az: 'hub route list -g MyResourceGroup --hub-name MyIotHub' },
    { az: 'hub routing-endpoint list -g MyResourceGroup --hub-name MyIotHub' },
    { az: 'hub monitor-events -n {iothub_name} -d {device_id}' },
    { az: 'hub monitor-feedback -n {iothub_name}' },
    { az: 'hub query -n {iothub_name} -q "select * from devices"' },
    { az: 'hub generate-sas-token -n {iothub_name}' },
    { az: 'hub invoke-device-method --hub-name {iothub_name} --device-id {device_id} --method-name Reboot' },
    { az: "hub invoke-module-method -n {iothub_name} -d {device_id} -m '$edgeAgent' --method-name 'RestartModule'" },
    { az: 'hub job list --hub-name {iothub_name}' },
    { az: 'hub configuration list -n {iothub_name}' },
    { az: 'hub distributed-tracing show -d {device_id} -n {iothub_name}' },
    { az: 'hub digital-twin show -n {iothub_name} -d {device_id}' },
    { az: 'hub state export -n {iothub_name} -f {state_filename}' },
    { az: 'hub device-twin show -d {device_id} -n {iothub_name}' },
    { az: `hub device-twin update -n {iothub_name} -d {device_id} --tags '{"country": "USA"}'` },
    { az: 'hub device-twin replace -d {device_id} -n {iothub_name} -j ../mydevicetwin.json' },
    { az: 'hub module-twin show -d {device_id} -n {iothub_name} -m {module_id}' },
    { az: 'hub device-identity export -n {iothub_name} --bcu {sas_uri_filepath}' },
    { az: 'hub device-identity import -n {iothub_name} --ibcu {input_sas_uri} --obcu {output_sas_uri}' },
    {
      az: 'hub device-identity update -d {device_id} -n {iothub_name} --add parentScopes x --remove statusReason',
      where: { '{device_id}': 'edge0' },
    },
  ]))

const SECRET = 'c2VjcmV0LXRoYXQtbm8tbWVzc2FnZS1tYXktdGVsbA'
const hostile: readonly (readonly [what: string, line: string, code: number, complaint: RegExp])[] = [
  [
    'keys that are not base64',
    `create -d h1 --pk ${SECRET}! --sk ${SECRET}!`,
    1,
    /primaryKey must be base64 of 16 to 64 bytes/,
  ],
  ['a key that is too short', 'create -d h1 --pk YQ== --sk YQ==', 1, /primaryKey must be base64 of 16 to 64 bytes/],
  [
    'a thumbprint with colons',
    'create -d h1 --am x509_thumbprint --ptp AA:BB',
    1,
    /must be 40 \(SHA-1\) or 64 \(SHA-256\) hex/,
  ],
  [
    'a thumbprint of letters',
    `create -d h1 --am x509_thumbprint --ptp ${'z'.repeat(40)}`,
    1,
    /hexadecimal digits, found/,
  ],
  [
    'too long a reason',
    `create -d h1 --star ${'é'.repeat(129)}`,
    1,
    /statusReason must be at most 128 characters, found 129/,
  ],
  ['a parent of nowhere', 'create -d h1 --device-scope nowhere', 1, /InvalidDeviceScope: The scope "nowhere"/],
  ['a parent that is not there', 'create -d h1 --pd nobody', 3, /DeviceNotFound: nobody/],
  [
    'a parent that is a leaf',
    'parent set -d hostile --pd hostile',
    1,
    /an IoT Edge device as the parent, found hostile/,
  ],
  [
    'its own parent',
    'parent set -d hostile-edge --pd hostile-edge',
    1,
    /would make hostile-edge an ancestor of itself/,
  ],
  [
    'a state that is none',
    'update -d hostile --set status=banana',
    1,
    /status must be one of enabled, disabled, found "banana"/,
  ],
  [
    'a flag that is none',
    'update -d hostile --set capabilities.iotEdge=maybe',
    1,
    /iotEdge must be true or false, found a string/,
  ],
  ['no credentials', `update -d hostile --set 'authentication={"type":"none"}'`, 1, /type must be sas, selfSigned or/],
  ['another device', 'update -d hostile --set deviceId=other', 2, /Expected --set of status/],
  ['a stale etag', 'update -d hostile --ee -e MQ==', 1, /412 PreconditionFailed.*Read it again/],
  [
    'a key that is none, to set',
    `update -d hostile --set authentication.symmetricKey.primaryKey=${SECRET}!`,
    1,
    /must be base64/,
  ],
  ['a key of a device that is not there', 'renew-key -d nobody --kt primary', 3, /DeviceNotFound: nobody/],
  ['keys of devices of which one is not there', 'renew-key -d hostile nobody --kt primary', 1, /found 1 that got none/],
]

test('hostile input: cause and remedy, an exit code, no key', async () => {
  for (const line of [device('hostile'), device('hostile-edge', '--ee')]) expect((await run(line)).ran.code).toBe(0)
  for (const [what, line, code, complaint] of hostile) {
    const played = await run(`hub device-identity ${line} -n muster-hub`)
    everything.push(played)
    expect(played.ran, what).toMatchObject({ code })
    expect(played.ran.err, what).toMatch(complaint)
    expect(played.ran.err + played.ran.out, what).not.toContain(SECRET)
  }
})

test('connection strings that lead nowhere: cause and remedy, no key', async () => {
  const { connectionString, hostName } = hubOf(muster)
  const show = (login: string) => runMuster(['hub', 'device-identity', 'list', '-l', login, '--ca', muster.app.caFile])
  expect(await show(connectionString)).toMatchObject({ code: 0 })
  const wrongKey = connectionString.replace(/Key=[^;]*$/, `Key=${Buffer.alloc(32, 1).toString('base64')}`)
  for (const [login, complaint] of [
    [wrongKey, /401 IotHubUnauthorized/],
    [connectionString.replace('iothubowner', 'nobody'), /401 IotHubUnauthorized/],
    [connectionString.replace(hostName, 'nowhere.invalid:1'), /ENOTFOUND|EAI_AGAIN/],
    [connectionString.replace(hostName, '127.0.0.1:1'), /ECONNREFUSED.*Nothing listens there/],
    [connectionString.replaceAll(';', ','), /found no SharedAccessKeyName/],
    ['', /found no HostName/],
  ] as const) {
    const ran = await show(login)
    expect(ran.code, login).not.toBe(0)
    expect(ran.err).toMatch(complaint)
    for (const key of keys) expect(ran.err).not.toContain(key)
  }
})

/** Commands that are asked for keys by their names or options. */
const asksForKeys = ({ words }: Played): boolean =>
  words.some((word) => word.includes('connection-string') || word === '--show-keys')

test('no key is on any screen that was not asked for one', () => {
  expect(everything.length).toBeGreaterThan(120)
  expect(keys.size).toBeGreaterThan(50)
  const quiet = everything.filter((each) => !asksForKeys(each))
  for (const { words, ran } of quiet)
    for (const key of keys) expect(ran.out + ran.err, words.join(' ')).not.toContain(key)
  const asked = everything.filter(asksForKeys).map(({ ran }) => ran.out)
  expect(asked.some((out) => [...keys].some((key) => out.includes(key)))).toBe(true)
})
