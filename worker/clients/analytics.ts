// Tells the analytics worker what visitors do. Copy this file into your site, say to `lib/analytics.ts`: it imports
// nothing, and takes the ioredis client (5 or newer, also a Cluster) that you have.
//
//   void track(redis, { type: 'profile_view', specialistId, source: 'catalog', visitorId, viewerId, userAgent })
//
// `track` throws nothing and rejects nothing, whatever it is given: a page never fails for its count, and never waits
// longer than `waitMs` for it. An event gets its id and its time at once and is sent until Redis has taken it, so it may
// arrive twice, and counts once: the worker knows it by its id. What is not yet taken is in memory: at most `capacity`
// events, which a killed process loses; before an orderly end, `await flush()`.
//
// Stream and shards come from the variables that the worker has too: ANALYTICS_STREAM, ANALYTICS_SHARDS,
// ANALYTICS_REQUESTS. Give both services the same.

/** What is needed of ioredis. */
export interface RedisClient {
  xadd(key: string, ...args: string[]): Promise<unknown>
  readonly status?: string
  readonly options?: { keyPrefix?: string | undefined }
}

type Optional<T> = T | null | undefined

/** One thing that a visitor did. What is too long or wrong is not refused here: the worker keeps it as a dead letter. */
export interface AnalyticsEvent {
  type: 'profile_view' | 'contact_view'
  specialistId: string
  /** Where the visitor came from: missing is `direct`, anything else than these three counts under `other`. */
  source?: Optional<'catalog' | 'search' | 'direct' | (string & {})>
  /** Of a contact view: `phone`, `email`, `telegram` … */
  contactType?: Optional<string>
  /** Opaque, at most 128 characters; the worker stores a keyed hash of it. */
  visitorId?: Optional<string>
  /** Specialist id of the signed-in viewer: a look at one's own profile does not count. */
  viewerId?: Optional<string>
  /** The header, for the bot filter; it is not stored. */
  userAgent?: Optional<string>
  /** When it happened: a Date, epoch milliseconds, or ISO 8601 with its offset. Missing is now. */
  occurredAt?: Optional<Date | number | string>
  /** A UUID made earlier for the same action, to send it again. Missing makes one. */
  eventId?: Optional<string>
}

/** Something that will not be sent. */
export interface Drop {
  /** `not_sendable`: no client, or nothing that can be made into text. The others say themselves. */
  reason: 'not_sendable' | 'buffer_full' | 'client_ended'
  /** The XADD that it would have been: stream, `*`, names and values in turn. `['']` if it could not be made. */
  args: readonly string[]
  /** What went wrong; of a full buffer, what the last attempt to send failed for. */
  error: unknown
}

/** How many events and requests Redis has taken since the process began, how many were given up, how many wait. */
export interface Stats {
  sent: number
  dropped: number
  pending: number
}

export interface Options {
  /** Key of the stream, or its stem when there is more than one shard. */
  stream: string
  /** Number of streams that events are spread over. */
  shards: number
  /** Key of the stream of requests. */
  requests: string
  /** The longest that a caller who awaits is kept waiting; sending goes on behind their back. */
  waitMs: number
  /** Most events that are kept while Redis is slow or away, about 2 kB each; more are dropped. */
  capacity: number
  /** Called for each event that is given up. By default a warning on the console, one a minute at most. */
  onDrop: (drop: Drop) => void
}

/** Push one event. True when Redis has taken it; false when it has not within `waitMs`, or was dropped. */
export function track(redis: Optional<RedisClient>, event: AnalyticsEvent): Promise<boolean> {
  return send(redis, () => [
    streamOf(event.specialistId),
    '*',
    ...['eventId', text(event.eventId ?? crypto.randomUUID())],
    ...['occurredAt', text(event.occurredAt ?? Date.now())],
    ...fields(event, ['type', 'specialistId', 'source', 'contactType', 'visitorId', 'viewerId', 'userAgent']),
  ])
}

/** Ask for rows that are right at this very moment, outcomes too. Dates are `YYYY-MM-DD`; without `to` it is today,
 *  without `from` the same day. Answers as `track` does: true means asked, the rows are right within a second or so. */
export function requestRefresh(
  redis: Optional<RedisClient>,
  request: { specialistId: string; from?: Optional<string>; to?: Optional<string> },
): Promise<boolean> {
  return send(redis, () => [
    shared.options.requests,
    '*',
    ...['kind', 'refresh'],
    ...fields(request, ['specialistId', 'from', 'to']),
  ])
}

/** Wait until nothing is pending, but no longer than `timeoutMs`. What is pending then is lost if the process ends. */
export async function flush(timeoutMs = 5_000): Promise<Stats> {
  if (shared.pending > 0) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      shared.idle.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }
  return stats()
}

/** For a health page or metrics. */
export function stats(): Stats {
  return { sent: shared.sent, dropped: shared.dropped, pending: shared.pending }
}

/** Change options, for the whole process; once, where it begins. */
export function configure(options: Partial<Options>): void {
  Object.assign(shared.options, options)
}

/** A token for a specialist's page and API, as JWT: keep it as cookie `analytics_token`, or send it as bearer; it is good
 *  for 12 hours. A `link` is good once, as `/profile/analytics?token=…`, for 15 minutes. Needs Node (20.16 or newer); the
 *  rest of this file does not.
 *
 *  @param secret ANALYTICS_SECRET, the worker's.
 *  @throws Error it is missing, or too short for the worker to take the token. */
export function signToken(
  secret: Optional<string>,
  specialistId: string,
  { link = false, seconds = link ? 900 : 43_200 }: { link?: boolean; seconds?: number } = {},
): string {
  if (!secret || Buffer.byteLength(secret) < 32) throw new Error('ANALYTICS_SECRET must have 32 bytes or more')
  // Not imported at the top: what runs on the edge could not load this file then.
  const { createHmac, randomUUID } = process.getBuiltinModule('node:crypto')
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: specialistId, aud: 'analytics', iat: now, exp: now + seconds }
  const parts = [{ alg: 'HS256', typ: 'JWT' }, link ? { ...claims, jti: randomUUID() } : claims]
  const signed = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** CRC-32 (IEEE) of the UTF-8 text: modulo the number of shards it is the shard of a specialist. */
export function crc32(text: string): number {
  let crc = -1
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 && 0xedb88320)
  }
  return ~crc >>> 0
}

// ---- from here on: how it is done ------------------------------------------------------------------------------------

/** Attempts of a lane that are under way at once. The others wait here, where they can be counted: what is handed to
 *  ioredis is in a queue of its own without a bound, where it stays even when its promise has long been rejected. */
const WINDOW = 1_000

/** An attempt without an answer for so long has failed. ioredis may never answer one: redis/ioredis#2193. */
const ANSWER_MS = 5_000

/** Pause after a failed attempt, doubled each time. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2_000

/** Most characters of a value: more than any field may have but userAgent, of which the beginning will do. Headers are
 *  written by strangers, and nobody's header shall fill the memory. */
const CHARACTERS = 1_024

/** The arguments of an XADD. */
type Args = [stream: string, ...rest: string[]]

/** One that Redis has not yet taken. There may be many: what the caller handed over is not kept for it. */
interface Pending {
  args: Args
  /** Taken or dropped: of those that come back from a failed attempt, an answer may still arrive. */
  settled: boolean
  answer: (sent: boolean) => void
}

interface Shared extends Stats {
  options: Options
  lanes: WeakMap<RedisClient, Map<string, Lane>>
  /** Who waits for the moment at which nothing is pending. */
  idle: (() => void)[]
  warnedAt: number
}

/** The way to one stream. While it works, many attempts are under way; after a failure one at a time, with pauses, until
 *  one gets through. So a Redis that is away costs nothing, and each shard of a Cluster fails alone. */
class Lane {
  readonly #redis: RedisClient
  #waiting: Pending[] = []
  #attempts = 0
  #failures = 0
  #pause: ReturnType<typeof setTimeout> | undefined
  error: unknown

  constructor(redis: RedisClient) {
    this.#redis = redis
  }

  add(pending: Pending): void {
    this.#waiting.push(pending)
    this.#pump()
  }

  #pump(): void {
    while (!this.#pause && this.#attempts < (this.#failures ? 1 : WINDOW)) {
      const next = this.#waiting.shift()
      if (!next) return
      if (!next.settled) this.#attempt(next)
    }
  }

  #attempt(pending: Pending): void {
    let open = true
    const close = () => {
      if (open) this.#attempts--
      open = false
      clearTimeout(timer)
    }
    const taken = () => {
      close()
      settle(pending, true)
      this.#failures = 0
      this.#resume()
    }
    const failed = (error: unknown) => {
      if (!open) return
      close()
      this.error = error
      if (!pending.settled) this.#waiting.push(pending)
      if (this.#redis.status === 'end') this.#giveUp()
      else this.#backOff()
    }
    const timer = detached(setTimeout(() => failed(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS))
    this.#attempts++
    void (async () => this.#redis.xadd(...pending.args))().then(taken, failed)
  }

  #backOff(): void {
    if (this.#pause) return // of many that fail together, one counts
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures++, LONGEST_PAUSE_MS)
    this.#pause = detached(setTimeout(() => this.#resume(), pause))
  }

  #resume(): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
    this.#pump()
  }

  #giveUp(): void {
    for (const pending of this.#waiting.splice(0)) drop(pending, 'client_ended', this.error)
  }
}

/** All that can throw is in here: getters, `toString`, a client that is none. */
function send(redis: Optional<RedisClient>, made: () => Args): Promise<boolean> {
  return new Promise((resolve) => {
    const pending: Pending = { args: [''], settled: false, answer: resolve }
    shared.pending++
    try {
      if (typeof redis?.xadd !== 'function') throw new TypeError('there is no Redis client')
      if (redis.options?.keyPrefix) throw new TypeError('with its keyPrefix it would go where nobody reads')
      pending.args = made()
      const lane = laneOf(redis, pending.args[0])
      if (shared.pending > shared.options.capacity) return drop(pending, 'buffer_full', lane.error)
      pending.answer = soon(resolve)
      lane.add(pending)
    } catch (error) {
      drop(pending, 'not_sendable', error)
    }
  })
}

/** Answers for the caller, who has heard enough after `waitMs`. */
function soon(resolve: (sent: boolean) => void): (sent: boolean) => void {
  const timer = setTimeout(resolve, shared.options.waitMs, false)
  return (sent) => {
    clearTimeout(timer)
    resolve(sent)
  }
}

function settle(pending: Pending, sent: boolean): void {
  if (pending.settled) return
  pending.settled = true
  shared.pending--
  shared[sent ? 'sent' : 'dropped']++
  pending.answer(sent)
  if (shared.pending === 0) for (const wake of shared.idle.splice(0)) wake()
}

function drop(pending: Pending, reason: Drop['reason'], error: unknown): void {
  if (pending.settled) return
  settle(pending, false)
  try {
    shared.options.onDrop({ reason, args: pending.args, error })
  } catch {
    // It is the caller's function, but the page's request.
  }
}

function warn({ reason, error }: Drop): void {
  if (Date.now() - shared.warnedAt < 60_000) return
  shared.warnedAt = Date.now()
  console.warn(`analytics: ${shared.dropped} dropped so far, the last one as ${reason}:`, error ?? 'no answer yet')
}

function laneOf(redis: RedisClient, stream: string): Lane {
  const lanes = shared.lanes.get(redis) ?? new Map<string, Lane>()
  const lane = lanes.get(stream) ?? new Lane(redis)
  shared.lanes.set(redis, lanes.set(stream, lane))
  return lane
}

function streamOf(specialistId: unknown): string {
  const { stream, shards } = shared.options
  if (!(Number.isInteger(shards) && shards >= 1)) throw new RangeError('ANALYTICS_SHARDS must be a whole number from 1')
  return shards === 1 ? stream : `${stream}:{${crc32(text(specialistId ?? '')) % shards}}`
}

/** Names and values in turn, of these names and no others: what else the object carries is nobody's business. */
function fields<Name extends string>(from: { readonly [name in Name]?: unknown }, names: readonly Name[]): string[] {
  const found: string[] = []
  for (const name of names) if (from[name] != null) found.push(name, text(from[name]))
  return found
}

function text(value: unknown): string {
  const whole = String(value instanceof Date ? value.getTime() : value)
  if (whole.length <= CHARACTERS) return whole
  // Copied, for a slice would keep the whole in memory.
  return new TextDecoder().decode(new TextEncoder().encode(whole.slice(0, CHARACTERS)))
}

/** A timer that keeps no process alive. (On the edge it is a number, and there is no process.) */
function detached<Timer extends ReturnType<typeof setTimeout>>(timer: Timer): Timer {
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}

/** The bundler of Next.js puts a copy of this file into each bundle that imports it. They all have this in common. */
const key = Symbol.for('specialist-analytics')
const shared: Shared = ((globalThis as { [key]?: Shared })[key] ??= {
  sent: 0,
  dropped: 0,
  pending: 0,
  options: {
    stream: process.env.ANALYTICS_STREAM || 'analytics:events',
    shards: Number(process.env.ANALYTICS_SHARDS || 1),
    requests: process.env.ANALYTICS_REQUESTS || 'analytics:requests',
    waitMs: 500,
    capacity: 10_000,
    onDrop: warn,
  },
  lanes: new WeakMap(),
  idle: [],
  warnedAt: -Infinity,
})
