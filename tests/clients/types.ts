// Only compiled: what a site may write, and what the compiler must refuse.

import { Cluster, Redis } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis-5'
import { configure, flush, requestRefresh, signToken, stats, track } from './analytics.js'

const maybe = undefined as string | null | undefined
const clients = [new Redis(), new Cluster([]), new Redis5(), new Cluster5([]), null, undefined]

for (const redis of clients) {
  const sent: Promise<boolean> = track(redis, {
    type: 'profile_view',
    specialistId: 'c0ffee',
    source: 'newsletter',
    visitorId: maybe,
    viewerId: maybe,
    userAgent: maybe,
  })
  const asked: Promise<boolean> = requestRefresh(redis, { specialistId: 'c0ffee', from: maybe })
  void sent
  void asked
}
configure({ shards: 4, onDrop: ({ reason, args, error }) => console.error(reason, args.join(), error) })
const pending: number = (await flush()).pending + stats().pending
const token: string = signToken('secret', 'c0ffee', { link: true })
void pending
void token

// @ts-expect-error - no such type
void track(new Redis(), { type: 'page_view', specialistId: 'c0ffee' })
// @ts-expect-error - whose view?
void track(new Redis(), { type: 'profile_view' })
// @ts-expect-error - no such field
void track(new Redis(), { type: 'profile_view', specialistId: 'c0ffee', visitor: 'v1' })
// @ts-expect-error - no client
void track('redis://localhost', { type: 'profile_view', specialistId: 'c0ffee' })
