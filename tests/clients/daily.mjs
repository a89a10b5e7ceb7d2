// Reads the daily table as a site does that has `pg` and nothing else.
//
//   DATABASE_URL=postgresql://… TZ=Europe/Moscow node daily.mjs SPECIALIST
//       prints a JSON array of the rows

import pg from 'pg'

// As it comes out of the box, a DATE is midnight of wherever this process is, which in UTC may be the day before, and a
// TIMESTAMP is taken for local time. Prisma reads and writes both as UTC.
pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text)
pg.types.setTypeParser(pg.types.builtins.TIMESTAMP, (text) => new Date(`${text}Z`))

const client = new pg.Client(process.env.DATABASE_URL)
await client.connect()
const { rows } = await client.query(
  `SELECT date, "profileViews", "contactViews", sources, "conversionRateProfileToContact", "updatedAt"
   FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = $1 AND date >= $2 ORDER BY date`,
  [process.argv[2], '2000-01-01'],
)
await client.end()
console.log(JSON.stringify(rows))
