import type { Random } from './random.ts';

/** A row of continent_codes.csv; for a country on two continents the last row is used. */
export type ContinentRow = { continent: string; continentCode: string; country: string; code: string; code3: string; number: number };

/** In the order of continent_codes.csv. Turkey occurs twice, and Kosovo (XK) is missing, as in the public table. */
export const continentRows: readonly ContinentRow[] = [
  {
    continent: 'Antarctica',
    continentCode: 'AN',
    country: 'Antarctica (the territory South of 60 deg S)',
    code: 'AQ',
    code3: 'ATA',
    number: 10,
  },
  { continent: 'South America', continentCode: 'SA', country: 'Argentina, Argentine Republic', code: 'AR', code3: 'ARG', number: 32 },
  { continent: 'Oceania', continentCode: 'OC', country: 'Australia, Commonwealth of', code: 'AU', code3: 'AUS', number: 36 },
  { continent: 'South America', continentCode: 'SA', country: 'Brazil, Federative Republic of', code: 'BR', code3: 'BRA', number: 76 },
  { continent: 'North America', continentCode: 'NA', country: 'Canada', code: 'CA', code3: 'CAN', number: 124 },
  { continent: 'Asia', continentCode: 'AS', country: "China, People's Republic of", code: 'CN', code3: 'CHN', number: 156 },
  { continent: 'Africa', continentCode: 'AF', country: 'Egypt, Arab Republic of', code: 'EG', code3: 'EGY', number: 818 },
  { continent: 'Europe', continentCode: 'EU', country: 'France, French Republic', code: 'FR', code3: 'FRA', number: 250 },
  { continent: 'Europe', continentCode: 'EU', country: 'Germany, Federal Republic of', code: 'DE', code3: 'DEU', number: 276 },
  { continent: 'Asia', continentCode: 'AS', country: 'India, Republic of', code: 'IN', code3: 'IND', number: 356 },
  { continent: 'Europe', continentCode: 'EU', country: 'Italy, Italian Republic', code: 'IT', code3: 'ITA', number: 380 },
  { continent: 'Asia', continentCode: 'AS', country: 'Japan', code: 'JP', code3: 'JPN', number: 392 },
  { continent: 'Africa', continentCode: 'AF', country: 'Morocco, Kingdom of', code: 'MA', code3: 'MAR', number: 504 },
  { continent: 'North America', continentCode: 'NA', country: 'Mexico, United Mexican States', code: 'MX', code3: 'MEX', number: 484 },
  { continent: 'Africa', continentCode: 'AF', country: 'Namibia, Republic of', code: 'NA', code3: 'NAM', number: 516 },
  { continent: 'Oceania', continentCode: 'OC', country: 'New Zealand', code: 'NZ', code3: 'NZL', number: 554 },
  { continent: 'South America', continentCode: 'SA', country: 'Peru, Republic of', code: 'PE', code3: 'PER', number: 604 },
  { continent: 'Europe', continentCode: 'EU', country: 'Spain, Kingdom of', code: 'ES', code3: 'ESP', number: 724 },
  { continent: 'Europe', continentCode: 'EU', country: 'Turkey, Republic of', code: 'TR', code3: 'TUR', number: 792 },
  { continent: 'Asia', continentCode: 'AS', country: 'Turkey, Republic of', code: 'TR', code3: 'TUR', number: 792 },
  { continent: 'North America', continentCode: 'NA', country: 'United States of America', code: 'US', code3: 'USA', number: 840 },
];

/** The country codes of country_codes.json. XK and OTHER are not in continent_codes.csv. */
export const countryCodes: readonly string[] = [...new Set(continentRows.map((row) => row.code)), 'XK', 'OTHER'];

/** The country of the n-th landmark: every code is used once before any is repeated. */
export function countryOf(n: number): string {
  return countryCodes[n % countryCodes.length] ?? 'OTHER';
}

const first = ['Vel', 'Bru', 'Tar', 'Ost', 'Mer', 'Kal', 'Lin', 'Sor', 'Ald', 'Nev', 'Rho', 'Zem', 'Pel', 'Gra', 'Ish', 'Dor'] as const;
const middle = ['mo', 'ne', 'si', 'ran', 'vi', 'ta', 'lo', 'dra', 'ke', 'ma'] as const;
const last = ['ra', 'burg', 'na', 'holm', 'ville', 'polis', 'stad', 'gawa', 'abad', 'via', 'mouth'] as const;

const kinds = [
  ...['Church_of_Saint_', 'Cathedral_of_', '%C3%89glise_de_', 'Castle_of_', 'Ch%C3%A2teau_de_', 'Burg_', 'Temple_of_', 'Rotunda_of_'],
  ...['Pagoda_of_', 'Lighthouse_of_', 'Faro_de_', 'Towers_of_', 'Pyramid_of_', 'Arch_of_', 'Porta_', 'Old_Mill_of_'],
] as const;

/**
 * The category of a generated landmark in the style of Wikimedia's page names: underscores, percent escapes, sometimes a comma or a quote,
 * which CSV must quote.
 */
export function categoryOf(random: Random): string {
  const place = `${random.pick(first)}${random.pick(middle)}${random.pick(last)}`;
  const kind = random.pick(kinds);
  const form = random.next();
  if (form < 0.2) return `${kind}${place},_${random.pick(first)}${random.pick(last)}`;
  if (form < 0.27) return `${kind}"${place}"`;
  return `${kind}${place}`;
}
