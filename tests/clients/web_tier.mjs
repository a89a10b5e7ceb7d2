// A web tier with the client, which does what a test tells it.
//
//   REDIS_URL=redis://… node web_tier.mjs ioredis|ioredis-5 [OPTIONS of ioredis as JSON]
//
// Reads commands from standard input, one JSON array a line: the name of a function below, and its arguments. Prints what
// each returns, as JSON, in the same order. At the end of the input it has nothing to do any more, and so must end by
// itself. On SIGTERM it does what the README says.

import { createInterface } from 'node:readline'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as analytics from './analytics.js'

const [library, options = '{}'] = process.argv.slice(2)
const { Redis, Cluster } = await import(library)
const { cluster, ...settings } = JSON.parse(options)
const connect = () => {
  const { hostname: host, port, password } = new URL(process.env.REDIS_URL)
  const client = cluster
    ? new Cluster([{ host, port }], { redisOptions: { password } })
    : new Redis(process.env.REDIS_URL, { disconnectTimeout: 50, ...settings })
  return client.on('error', () => {})
}
const redis = connect()

const drops = {}
analytics.configure({ onDrop: ({ reason }) => void (drops[reason] = (drops[reason] ?? 0) + 1) })
const copy = await import('./analytics.js?copy') // as Next.js has one in each bundle

process.once('SIGTERM', async () => {
  print(await copy.flush())
  process.exit(0)
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')
const print = (answer) => console.log(JSON.stringify(answer))
const DAY = 86_400_000
const SOURCES = ['catalog', 'search', 'direct', 'newsletter', undefined]

// The nth event of a crowd, and the cell of the daily table that it belongs to.
function visit(n, specialists, now) {
  const type = n % 3 ? 'profile_view' : 'contact_view'
  const source = SOURCES[n % 5]
  const occurredAt = now - (n % 4) * DAY
  const counted = source === undefined ? 'direct' : source === 'newsletter' ? 'other' : source
  const event = { type, specialistId: specialists[n % specialists.length], source, occurredAt }
  const day = new Date(occurredAt).toISOString().slice(0, 10)
  return { event, cell: `${event.specialistId} ${day} ${type === 'profile_view' ? counted : 'contact'}` }
}

const commands = {
  ...analytics,
  track: (event) => analytics.track(redis, event),
  requestRefresh: (request) => analytics.requestRefresh(redis, request),
  drops: () => drops,
  handedOver: () => redis.offlineQueue.length + redis.commandQueue.length,

  // Many visitors, some hundreds of them at once: how many were told that they are counted, and a straight count.
  async crowd(count, specialists) {
    const cells = {}
    const now = Date.now()
    let told = 0
    for (let n = 0; n < count; ) {
      const together = []
      for (; n < count && together.length < 500; n++) {
        const { event, cell } = visit(n, specialists, now)
        cells[cell] = (cells[cell] ?? 0) + 1
        together.push(analytics.track(redis, event))
      }
      told += (await Promise.all(together)).filter(Boolean).length
    }
    return { told, cells }
  },

  // So many calls at once, and nobody waits.
  burst(count, specialists) {
    for (let n = 0; n < count; n++) void analytics.track(redis, visit(n, specialists, Date.now()).event)
    return analytics.stats()
  },

  // The same with headers that somebody has made long: how many megabytes are kept for them.
  longHeaders(count) {
    const before = used()
    for (let n = 0; n < count; n++) {
      const userAgent = `${n} ${'x'.repeat(100_000)}`.replace('x', 'y') // one string, not two that are joined when read
      void analytics.track(redis, { type: 'profile_view', specialistId: 'c0ffee', userAgent })
    }
    return (used() - before) / 1e6
  },

  // One after the other, for ever, with the id of each that Redis has taken.
  async endless(specialists) {
    for (let n = 0; ; n++) {
      const eventId = crypto.randomUUID()
      if (await analytics.track(redis, { ...visit(n, specialists, Date.now()).event, eventId })) print(eventId)
    }
  },

  // Whatever a program may do wrong: none of it throws, and all of it is answered.
  async misuse() {
    const good = { type: 'profile_view', specialistId: 'c0ffee' }
    const throwing = { get specialistId() { throw new Error('a getter') } }
    const circular = { ...good }
    circular.source = circular
    circular.visitorId = [circular]
    let deep = []
    for (let depth = 0; depth < 100_000; depth++) deep = [deep]
    const events = {
      nothing: undefined, null: null, number: 7, text: 'view', list: [], empty: {}, throwing, circular,
      symbol: { ...good, source: Symbol('s') }, bigint: { ...good, visitorId: 7n },
      bare: { ...good, source: Object.create(null) }, deep: { ...good, source: deep }, function: () => good,
      long: { ...good, userAgent: 'x'.repeat(10_000_000) }, date: { ...good, occurredAt: new Date(NaN) },
      halves: { ...good, contactType: '\ud800' }, frozen: Object.freeze({ ...good }), proxy: new Proxy(good, {}),
    }
    const clients = {
      none: undefined, null: null, text: 'redis://', bare: {}, method: { xadd: 7 },
      throws: { xadd() { throw new Error('now') }, status: 'end' }, rejects: { xadd: () => Promise.reject(), status: 'end' },
      getter: { get xadd() { throw new Error('a getter') } }, revoked: revoked(),
    }
    const answers = {}
    for (const [name, event] of Object.entries(events)) answers[name] = await analytics.track(redis, event)
    for (const [name, client] of Object.entries(clients)) answers[`client ${name}`] = await analytics.track(client, good)
    answers.request = await analytics.requestRefresh(redis, null)
    analytics.configure({ shards: 0 })
    answers.shards = await analytics.track(redis, good)
    analytics.configure({ shards: 1, onDrop() { throw new Error('in onDrop') } })
    answers.onDrop = await analytics.track(null, good)
    return answers
  },

  // A client that was closed before, and one that is closed while events wait.
  async ended() {
    const closed = connect()
    await closed.quit()
    const before = await analytics.track(closed, { type: 'profile_view', specialistId: 'c0ffee' })
    const { pending } = await copy.flush()
    return { before, pending, drops }
  },
}

function used() {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line)
  print((await commands[name](...args)) ?? null)
}
redis.disconnect()
