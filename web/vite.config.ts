import { fileURLToPath } from 'node:url'
import tailwindcss from '@tailwindcss/vite'
import { tanstackRouter } from '@tanstack/router-plugin/vite'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'
import { routes } from './build/routes.config.mjs'

const server = process.env.PEERGPU_URL ?? 'http://127.0.0.1:8080'

// The Host header stays the page's own, so that the server's checks of Origin and the
// links that it makes are the same as without a proxy.
const proxied = { target: server, changeOrigin: false }

const groups = [
  { name: 'react', test: /node_modules[\\/](react|react-dom|scheduler)[\\/]/, priority: 20 },
  {
    name: 'tanstack',
    test: /node_modules[\\/]@tanstack[\\/](react-router|router-core|react-query|query-core|history|store|react-store)[\\/]/,
    priority: 10,
  },
]

export default defineConfig({
  plugins: [tanstackRouter(routes as Parameters<typeof tanstackRouter>[0]), react(), tailwindcss()],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  server: {
    port: 5173,
    strictPort: true,
    proxy: {
      '/api': proxied,
      '/blobs': proxied,
      '/docs': proxied,
      '/openapi.json': proxied,
      '/ws': { ...proxied, ws: true },
    },
  },
  build: {
    target: 'es2022',
    sourcemap: false,
    manifest: true, // the budgets are tested by it
    assetsInlineLimit: 0, // data: URLs are for images alone in our content policy
    chunkSizeWarningLimit: 300,
    rolldownOptions: { output: { codeSplitting: { groups } } },
  },
  test: { environment: 'node', include: ['src/**/*.test.{ts,tsx}'], css: false },
})
