// Writes src/routeTree.gen.ts from the files in src/routes, as the Vite plugin does:
// types can then be checked before anything is built.
import { Generator, getConfig } from '@tanstack/router-generator'
import { routes } from './routes.config.mjs'

const root = process.cwd()
await new Generator({ config: getConfig(routes, root), root }).run()
