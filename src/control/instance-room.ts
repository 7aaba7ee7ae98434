import type { Clock } from '../base/clock.ts'
import type { IfMatch } from '../base/etags.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import type { Random } from '../base/random.ts'
import { readTags } from './common-input.ts'
import type { InstanceDocument } from './documents.ts'
import { findByHost } from './hosts.ts'
import type { Instances, Written } from './instances.ts'
import {
  type Caller,
  type PolicyChange,
  type PolicyInput,
  type PolicyKind,
  putPolicy,
  regenerateKey,
  removePolicy,
} from './policies.ts'
import type { Instance, Snapshot } from './snapshots.ts'

/** What can be done with instances of either kind. Names do not differ by letter case alone. */
export interface InstanceRoom<V, Input> {
  get(name: string): Promise<V | undefined>
  /** By host name with or without port; an unknown host gives the only instance where exactly one exists. */
  byHost(host: string): Promise<V | undefined>
  list(): Promise<readonly V[]>
  /** Creates or updates; 400 names the member, 409 a host name that is taken, 412 an etag that does not match. */
  put(caller: Caller, name: string, input: Input | JsonObject, ifMatch: IfMatch): Promise<V>
  /** Replaces the tags and nothing else. */
  setTags(caller: Caller, name: string, input: JsonObject, ifMatch: IfMatch): Promise<V>
  /** Adds the policy, or changes its rights and keys. */
  putPolicy(caller: Caller, name: string, policy: PolicyInput | JsonObject, ifMatch: IfMatch): Promise<V>
  removePolicy(caller: Caller, name: string, keyName: string, ifMatch: IfMatch): Promise<V>
  regenerateKey(
    caller: Caller,
    name: string,
    keyName: string,
    key: 'primary' | 'secondary',
    ifMatch: IfMatch,
  ): Promise<V>
  /** 409 while something lives in it or depends on it. */
  remove(caller: Caller, name: string, ifMatch: IfMatch): Promise<void>
}

export interface InstanceRoomNeeds<R extends string, D, V, Input> {
  readonly clock: Clock
  readonly random: Random
  readonly instances: Instances<D, V>
  readonly policies: PolicyKind<R>
  hostNamesOf(view: V): readonly string[]
  /** Throws a 400 for what no instance of the kind may be called. */
  requireName(name: string): void
  /** The document that `input` makes of `stored`; of a new instance where there is none. */
  evaluate(
    name: string,
    input: Input | JsonObject,
    stored: D | undefined,
    all: Snapshot<D, V>,
  ): Written<D> | Promise<Written<D>>
}

export function createInstanceRoom<R extends string, D extends InstanceDocument<R>, V extends Instance, Input>(
  needs: InstanceRoomNeeds<R, D, V, Input>,
): InstanceRoom<V, Input> {
  const { instances, clock, random, hostNamesOf } = needs
  const changePolicies = (caller: Caller, name: string, ifMatch: IfMatch, change: PolicyChange) =>
    instances.change(caller, name, ifMatch, (stored) => {
      const policies = change(stored.policies, needs.policies, random)
      return { ...stored, policies, updatedAt: clock.now() }
    })
  return {
    get: instances.get,
    list: instances.list,
    byHost: async (host) => {
      const all = await instances.list()
      return findByHost(all, hostNamesOf, host) ?? (all.length === 1 ? all[0] : undefined)
    },
    put: (caller, name, input, ifMatch) =>
      instances.write(caller, name, ifMatch, async (stored, all) => {
        if (stored === undefined) needs.requireName(name)
        return needs.evaluate(name, input, stored, all)
      }),
    setTags: (caller, name, input, ifMatch) =>
      instances.change(caller, name, ifMatch, (stored) => {
        const fields = new Fields(input, 'resource')
        return { ...stored, tags: fields.required('tags', readTags(fields)), updatedAt: clock.now() }
      }),
    putPolicy: (caller, name, policy, ifMatch) => changePolicies(caller, name, ifMatch, putPolicy(policy)),
    removePolicy: (caller, name, keyName, ifMatch) => changePolicies(caller, name, ifMatch, removePolicy(keyName)),
    regenerateKey: (caller, name, keyName, key, ifMatch) =>
      changePolicies(caller, name, ifMatch, regenerateKey(keyName, key)),
    remove: instances.remove,
  }
}
