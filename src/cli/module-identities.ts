import { limits } from '../base/limits.ts'
import type { Environment } from './environment.ts'
import { changedIdentity } from './generic-update.ts'
import { checkedId, openRegistry, textOf } from './hub-registry.ts'
import {
  type CredentialOptions,
  changedAuthentication,
  type NewCredentialOptions,
  newAuthentication,
} from './identity-authentication.ts'
import { moduleColumns, type OneDevice, type OneModule, printIdentity, tellOfKeys } from './identity-output.ts'
import { print } from './output.ts'

/** Members of a module that an update may change (hub-service.md 2.2). */
const SETTABLE = ['authentication', 'managedBy']

export async function listModules(
  options: OneDevice & { readonly top?: number },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  const modules = await registry.modules(options.deviceId)
  await print(environment, options, modules.slice(0, options.top ?? limits.deviceList), moduleColumns)
}

export async function showModule(options: OneModule, environment: Environment): Promise<void> {
  const registry = await openRegistry(options, environment)
  await printIdentity(registry, await registry.get(options), options, environment)
}

export async function createModule(options: OneModule & NewCredentialOptions, environment: Environment): Promise<void> {
  const deviceId = checkedId('--device-id', options.deviceId)
  const moduleId = checkedId('--module-id', options.moduleId)
  const registry = await openRegistry(options, environment)
  const authentication = await newAuthentication(moduleId, options, environment)
  const module = await registry.create(options, { deviceId, moduleId, authentication })
  tellOfKeys(options, { deviceId, moduleId }, environment)
  await print(environment, options, module, moduleColumns)
}

/** Reads, changes and writes back what was read: another change in between is a 412 and not lost. */
export async function updateModule(
  options: OneModule & CredentialOptions & { readonly set?: readonly string[]; readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  const module = await registry.get(options)
  const authentication = changedAuthentication(module, options)
  const changed = authentication === undefined ? module : { ...module, authentication }
  const document = changedIdentity(changed, options.set ?? [], SETTABLE)
  const written = await registry.replace(options, document, options.etag ?? textOf(module, 'etag'))
  await print(environment, options, written, moduleColumns)
}

export async function deleteModule(
  options: OneModule & { readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  await registry.remove(options, options.etag ?? '*')
}
