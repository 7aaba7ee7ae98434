import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DeviceProcess, startDevices } from './device-process.ts'
import type { TestMuster } from './muster.ts'

const suite = join(import.meta.dirname, '..', 'sdk-java')

/** Whether this machine has what the Java suite runs on: a JDK from 17 on, and Maven. */
export const hasJava = (): boolean =>
  spawnSync('mvn', ['--version']).status === 0 && spawnSync('javac', ['--release', '17', '--version']).status === 0

/** The folder with the clients that pom.xml pins, fetched once per machine and version. */
export function javaClients(): string {
  const pom = join(suite, 'pom.xml')
  const version = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)
  const folder = join(tmpdir(), `muster-azure-iot-java-${version}`)
  if (existsSync(folder)) return folder
  const fetching = `${folder}.${process.pid}`
  const flags = ['--quiet', '--batch-mode', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${fetching}`]
  execFileSync('mvn', flags, { stdio: ['ignore', 'inherit', 'inherit'] })
  renameSync(fetching, folder)
  return folder
}

/** Runs the program beside pom.xml. The private CA is all that it trusts, and the Muster's host name all that it can resolve. */
export function startJavaDevices(clients: string, { app, folder, addresses }: TestMuster): DeviceProcess {
  const hosts = join(folder, 'java-hosts')
  const [name] = addresses.dps.hostName.split(':')
  writeFileSync(hosts, `${addresses.address} ${name}\n`)
  const trustStore = join(folder, 'java-trust.p12')
  rmSync(trustStore, { force: true })
  const store = ['-keystore', trustStore, '-storetype', 'PKCS12', '-storepass', 'changeit']
  execFileSync('keytool', ['-importcert', '-noprompt', '-alias', 'muster', '-file', app.caFile, ...store], {
    stdio: 'pipe',
  })
  const flags = [
    `-Djdk.net.hosts.file=${hosts}`,
    `-Djavax.net.ssl.trustStore=${trustStore}`,
    '-Djavax.net.ssl.trustStorePassword=changeit',
  ]
  const compiled = join(folder, 'java-classes')
  const sources = globSync(join(suite, '*.java'))
  execFileSync('javac', ['--release', '17', '-d', compiled, '-cp', join(clients, '*'), ...sources], { stdio: 'pipe' })
  const classes = `${compiled}:${join(clients, '*')}`
  return startDevices('java', [...flags, '-cp', classes, 'Clients'], { PATH: process.env['PATH'] })
}
