// Lets Prisma's own schema engine apply a folder of migrations, as `prisma migrate deploy` does.
//
//   DATABASE_URL=postgresql://… node apply.mjs FOLDER
//       prints the name of each migration that was applied now
//
// Exit code: 0 all of FOLDER is applied, 1 error (on standard error).
//
// Packages are looked for beside this file: see diff.mjs.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg'

// Until the very end the answer is "error", also if a promise of the engine never settles.
process.exitCode = 1

// The native engine of `prisma migrate` sends a file to PostgreSQL as it is. This adapter would cut it at every
// semicolon, also inside of DO $$ … $$.
class WholeScripts extends PrismaPg {
  async connect() {
    const adapter = await super.connect()
    adapter.executeScript = async (script) => void (await adapter.client.query(script))
    return adapter
  }
}

// As in diff.mjs: the package has no entry for Node, so its two halves are put together by hand.
const wasm = readFileSync(new URL('schema_engine_bg.wasm', import.meta.resolve('@prisma/schema-engine-wasm')))
const { instance } = await WebAssembly.instantiate(wasm, { './schema_engine_bg.js': engine })
engine.__wbg_set_wasm(instance.exports)
instance.exports.__wbindgen_start()

const folder = process.argv[2]
const read = (...path) => readFileSync(join(folder, ...path), 'utf8')
const names = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))

const connection = { connectionString: process.env.DATABASE_URL }
const adapters = bindMigrationAwareSqlAdapterFactory(new WholeScripts(connection, { schema: 'public' }))
const schemaEngine = await engine.SchemaEngine.new({ datamodels: undefined }, () => {}, adapters)
const { appliedMigrationNames } = await schemaEngine.applyMigrations({
  migrationsList: {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: read('migration_lock.toml') },
    shadowDbInitScript: '',
    migrationDirectories: names.sort().map((name) => ({
      path: name,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: read(name, 'migration.sql') } },
    })),
  },
  filters: { externalTables: [], externalEnums: [] },
})
schemaEngine.free()
for (const name of appliedMigrationNames) console.log(name)
// Not by itself: the engine's clock for getting its lock still ticks for ten seconds.
process.exit(0)
