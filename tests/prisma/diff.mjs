// Asks Prisma's own schema engine what it would change.
//
//   DATABASE_URL=postgresql://… node diff.mjs [--external TABLE]…
//       prints the SQL that would bring the schema `public` of that database to schema.prisma
//   node diff.mjs --from-empty
//       prints the SQL for schema.prisma on an empty database; needs no database
//
// Exit code: 0 nothing to change (and nothing printed), 2 there is a difference, 1 error (one line on
// standard error). --from-empty exits 0.
//
// --external names a table of `public` that is not ours to judge: it is left out of the comparison. Every other
// table that schema.prisma does not know is reported as DROP TABLE, and so it should be.
//
// Why: the site's next `prisma migrate` or `prisma db push` would "repair" whatever our migration wrote
// differently, and can drop a column with its data. Only Prisma's engine knows what it takes for different.
//
// What the engine does not see, and a test must check by other means: whether an index is partial or has
// NULLS NOT DISTINCT (so a partial unique index passes, although ON CONFLICT cannot use it), whether the foreign
// key is validated or deferrable, collations, check constraints, triggers, storage parameters, other schemas.
//
// schema.prisma is read from the folder of this file, and Node finds packages from there too. To keep
// node_modules elsewhere, copy package.json, schema.prisma and diff.mjs there, run `npm install` there and
// start that copy. Copy all three each time: a stale copy would judge by an old model.

import { readFileSync } from 'node:fs'

// Until the very end the answer is "error". Without this a promise of the engine that never settles would let
// Node leave with code 0, which means "no difference".
process.exitCode = 1
let finished = false
process.on('exit', () => {
  if (!finished) fail('the schema engine stopped without an answer')
})

function fail(reason) {
  finished = true
  process.exitCode = 1
  console.error(`diff.mjs: ${reason}`)
}

function readArguments(argv) {
  const wanted = { fromEmpty: false, external: [] }
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--from-empty') wanted.fromEmpty = true
    // The engine wants the schema in the name; only `public` is looked at.
    else if (argv[i] === '--external' && argv[i + 1]) wanted.external.push(`public.${argv[++i]}`)
    else throw new Error(`unknown argument ${argv[i]} (known: --from-empty, --external TABLE)`)
  }
  return wanted
}

// The address as libpq (and so psycopg) reads it, as a configuration for the `pg` driver.
function connectionOf(url, parse) {
  if (!url) throw new Error('DATABASE_URL is not set')
  // The parser takes any other text for a database on a host named "base".
  if (!/^postgres(ql)?:\/\//.test(url)) throw new Error('DATABASE_URL must begin with postgresql:// or postgres://')

  // In a query string libpq takes a plus as a plus, JavaScript takes it as a space: a socket folder may hold one.
  const literal = url.replace(/\?.*$/, (query) => query.replaceAll('+', '%2B'))
  // sslmode=require means "encrypt", as in libpq. The driver alone would also demand a known certificate.
  const given = parse(literal, { useLibpqCompat: !/[?&]uselibpqcompat=/.test(url) })
  // The driver would quietly use the default port, and judge another server's database.
  if (given.port && !/^\d+$/.test(given.port)) throw new Error('DATABASE_URL has a port that is not a number')
  const overSocket = given.host?.startsWith('/')
  return {
    host: given.host || undefined,
    port: given.port ? Number(given.port) : undefined,
    user: given.user || undefined,
    password: given.password || undefined,
    database: given.database || undefined,
    // libpq never encrypts a Unix socket, whatever sslmode says; the driver would ask and be refused.
    ssl: overSocket ? false : given.ssl,
    // A check must not be able to change what it checks: the server refuses every write of this session. Not
    // only a precaution: where the schema `public` is missing, the engine would create it. PgBouncer may refuse
    // this parameter: connect to PostgreSQL itself.
    options: [given.options, '-c default_transaction_read_only=on'].filter(Boolean).join(' '),
    connectionTimeoutMillis: 10_000,
    query_timeout: 60_000,
    max: 1,
    // Without this the idle connection keeps Node waiting for ten seconds after the answer.
    allowExitOnIdle: true,
  }
}

// PostgreSQL's catalog uses the type "char" (one byte, not the same as char) for the actions of foreign keys and
// the kinds of constraints. The engine asks for these columns and wants single characters; the adapter refuses
// the type, because no Prisma model can have it. So: past the adapter as text, on to the engine as characters.
const CHAR = 18
const TEXT = 25

function catalogAdapter(PrismaPg, { ColumnTypeEnum }, connection) {
  return new (class extends PrismaPg {
    async connect() {
      const adapter = await super.connect()
      const performIO = adapter.performIO.bind(adapter)
      const queryRaw = adapter.queryRaw.bind(adapter)
      const charColumns = new WeakMap()
      adapter.performIO = async (query) => {
        const result = await performIO(query)
        const chars = result.fields.flatMap((field, index) => (field.dataTypeID === CHAR ? [index] : []))
        for (const index of chars) result.fields[index].dataTypeID = TEXT
        charColumns.set(query, chars)
        return result
      }
      adapter.queryRaw = async (query) => {
        const result = await queryRaw(query)
        for (const index of charColumns.get(query)) result.columnTypes[index] = ColumnTypeEnum.Character
        return result
      }
      return adapter
    }

    async connectToShadowDb() {
      throw new Error('a shadow database would be created; this check only reads')
    }
  })(connection, { schema: 'public' })
}

// The engine greets a database even when it needs none. This one knows the greeting and nothing else, so that
// any further question is an error instead of an invented answer.
function absentDatabase({ ColumnTypeEnum: type }) {
  const refuse = async () => {
    throw new Error('--from-empty has no database to ask')
  }
  const adapter = {
    provider: 'postgres',
    adapterName: '@prisma/adapter-pg',
    getConnectionInfo: () => ({ schemaName: 'public', supportsRelationJoins: true }),
    queryRaw: async ({ sql }) =>
      sql.includes('server_version_num')
        ? {
            columnNames: ['exists', 'version', 'numeric_version'],
            columnTypes: [type.Boolean, type.Text, type.Int32],
            rows: [[true, 'PostgreSQL 18.0', 180000]],
          }
        : refuse(),
    executeRaw: refuse,
    executeScript: refuse,
    startTransaction: refuse,
    dispose: async () => {},
  }
  return { ...adapter, connect: async () => adapter, connectToShadowDb: refuse }
}

// The package has no entry for Node: its main file imports the .wasm as a module, which Node cannot do without
// a flag. So its two halves are put together by hand.
async function loadEngine() {
  const engine = await import('@prisma/schema-engine-wasm/schema_engine_bg')
  const wasm = readFileSync(new URL('schema_engine_bg.wasm', import.meta.resolve('@prisma/schema-engine-wasm')))
  const { instance } = await WebAssembly.instantiate(wasm, { './schema_engine_bg.js': engine })
  engine.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
  return engine
}

// A panic of the engine does not reject the promise: its text comes through this global, and the trap that follows
// arrives as an uncaught exception.
let panic
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (text) => (panic = text.replace(/\s*\n\s*/g, ' ')) }
process.on('uncaughtException', (error) => {
  fail(reasonOf(error))
  process.exit()
})

// One line for a person. An error of the driver that the engine does not understand comes back as a mere number
// into the registry of the bound adapter.
function reasonOf(error, registry) {
  if (error.code === 'ERR_MODULE_NOT_FOUND') return 'packages are missing beside diff.mjs: run npm install there'
  const number = /External error id#(\d+)/.exec(error.message)?.[1]
  const cause = (number && registry?.consumeError(Number(number))?.error) || error
  // Several addresses for one name (IPv6 and IPv4) fail together, with an empty message.
  const text = panic || cause.message || cause.errors?.map((each) => each.message).join('; ') || String(cause)
  return text.trim().split('\n')[0]
}

async function main() {
  let bound
  try {
    const wanted = readArguments(process.argv.slice(2))
    const utilities = await import('@prisma/driver-adapter-utils')
    let factory
    if (wanted.fromEmpty) {
      factory = absentDatabase(utilities)
    } else {
      const { PrismaPg } = await import('@prisma/adapter-pg')
      const { default: parse } = await import('pg-connection-string')
      factory = catalogAdapter(PrismaPg, utilities, connectionOf(process.env.DATABASE_URL, parse))
    }

    const content = readFileSync(new URL('schema.prisma', import.meta.url), 'utf8')
    const files = [{ path: 'schema.prisma', content }]
    const { SchemaEngine } = await loadEngine()
    bound = utilities.bindMigrationAwareSqlAdapterFactory(factory)
    const engine = await SchemaEngine.new({ datamodels: undefined }, () => {}, bound)
    const { exitCode, stdout } = await engine.diff({
      from: wanted.fromEmpty ? { tag: 'empty' } : { tag: 'schemaDatasource', files, configDir: '.' },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: true,
      filters: { externalTables: wanted.external, externalEnums: [] },
    })
    engine.free()

    finished = true
    // Where nothing differs the engine still writes a comment; silence is easier to assert.
    if (exitCode !== 0) process.stdout.write(stdout)
    process.exitCode = wanted.fromEmpty ? 0 : exitCode
  } catch (error) {
    fail(reasonOf(error, bound?.errorRegistry))
  }
}

main()
