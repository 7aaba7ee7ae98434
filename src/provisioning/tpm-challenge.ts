import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { generateKey } from '../crypto/keys.ts'
import type { Store } from '../store/store.ts'
import { tpmChallenges } from './schema.ts'

/** The keys that one enrolled TPM device may sign with (dps.md 4.1); shared by all nodes. */
export interface TpmChallenge {
  /** Base64 of TPM2B_PUBLIC: of an enrollment that has another one by now these keys prove nothing. */
  readonly endorsementKey: string
  /** Newest first; `limits.tpmChallengesPerDevice` at most. */
  readonly keys: readonly ChallengeKey[]
  /** When all of it has run out, ms. Indexed. */
  readonly until: number
}

export interface ChallengeKey {
  /** Base64 of 32 bytes. */
  readonly key: string
  /** The storage root key that the device sent, base64 of TPM2B_PUBLIC: what its hub key is wrapped for later. */
  readonly storageRootKey: string
  readonly madeAt: number
  readonly until: number
}

/** Tells a TPM device what to sign with. A face that has no way to say that shows it as the 401 that it is. */
export class AuthorizationRequired extends ServiceError {
  /** The activation blob, base64. */
  readonly authenticationKey: string
  readonly keyName = 'registration'

  constructor(authenticationKey: string) {
    super(401000, 'Authorization required.')
    this.name = 'AuthorizationRequired'
    this.authenticationKey = authenticationKey
  }
}

export interface TpmChallenges {
  /** A key for the device to sign with, durable before it is told. */
  issue(id: string, endorsementKey: string, storageRootKey: string): Promise<ChallengeKey>
  /** The keys that are good at `at`, newest first. */
  keys(id: string, endorsementKey: string, at: number): Promise<readonly ChallengeKey[]>
  /** Deletes what has run out, some of it at a time. */
  sweep(): Promise<void>
}

/**
 * Only devices whose endorsement key is enrolled come here, and each has one document, so strangers cannot fill the
 * store. A device that begins again gets the key it was given a moment ago: that costs no commit, and whoever repeats
 * a device's first request from elsewhere does not take its key from it. The key is as safe told twice as once: only
 * the TPM can unwrap it.
 *
 * Every `id` is the `storeId` of the registration id.
 */
export function createTpmChallenges({
  store,
  clock,
  random,
}: {
  store: Store
  clock: Clock
  random: Random
}): TpmChallenges {
  return {
    async issue(id, endorsementKey, storageRootKey) {
      for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
        const stored = await store.get(tpmChallenges, id)
        const now = clock.now()
        const live = liveKeys(stored?.value, endorsementKey, now)
        const [newest] = live
        if (newest?.storageRootKey === storageRootKey && now - newest.madeAt < limits.tpmChallengeRepeatMs)
          return newest
        const until = now + limits.tpmChallengeMs
        const fresh: ChallengeKey = { key: generateKey(random, KEY_BYTES), storageRootKey, madeAt: now, until }
        const replaced = live.map((key) => ({ ...key, until: Math.min(key.until, now + limits.tpmChallengeRepeatMs) }))
        const keys = [fresh, ...replaced].slice(0, limits.tpmChallengesPerDevice)
        const { ok } = await store.commit({
          expect: [{ in: tpmChallenges, id, version: stored?.version ?? 0 }],
          put: [{ collection: tpmChallenges, id, value: { endorsementKey, keys, until } satisfies TpmChallenge }],
        })
        if (ok) return fresh
      }
      throw new ServiceError(409203, 'Precondition failed.')
    },

    keys: async (id, endorsementKey, at) => liveKeys((await store.get(tpmChallenges, id))?.value, endorsementKey, at),

    async sweep() {
      const { items } = await store.scan(tpmChallenges, {
        index: 'until',
        to: clock.now(),
        limit: limits.tpmChallengeSweep,
      })
      // One by one: a device that begins again in this moment keeps its new key, and the others go.
      await Promise.all(
        items.map(({ id, version }) => {
          const own = { in: tpmChallenges, id }
          return store.commit({ expect: [{ ...own, version }], delete: [own] })
        }),
      )
    },
  }
}

const KEY_BYTES = 32

const liveKeys = (challenge: TpmChallenge | undefined, endorsementKey: string, at: number): readonly ChallengeKey[] =>
  challenge?.endorsementKey === endorsementKey ? challenge.keys.filter(({ until }) => at < until) : []
