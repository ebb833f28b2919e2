import { z } from 'zod'

// Compiled validators would need eval, which the content policy forbids.
z.config({ jitless: true })

export { z }
