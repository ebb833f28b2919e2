// Stands between a browser and a server, and breaks the socket of a log on command.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** Carries connections to a server until the end of the test. `url` is where the browser
 * finds it, `sockets` how many WebSockets of a job it opened so far. */
export async function droppable(t, server) {
  const { hostname, port } = new URL(server)
  const all = new Set()
  const logs = new Set()
  let held // the WebSockets that wait while they are cut off
  const self = {
    sockets: 0,
    /** Resets those that are open, so that what is on its way is lost, as when a network
     * fails, and lets no new one through until mend is called. Returns how many there were. */
    drop() {
      held = []
      const dropped = logs.size
      for (const socket of logs) socket.resetAndDestroy()
      return dropped
    },
    mend() {
      const waiting = held
      held = undefined
      for (const carry of waiting) carry()
    },
  }
  const listener = createServer((socket) => {
    all.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => all.delete(socket))
    // A browser opens a connection of its own for each WebSocket: the first line names it.
    socket.once('data', (head) => {
      const carry = () => {
        if (socket.destroyed) return
        const on = connect({ host: hostname, port })
        all.add(on)
        on.on('error', () => undefined)
        on.on('close', () => {
          all.delete(on)
          socket.destroy()
        })
        socket.on('close', () => on.destroy())
        on.write(head)
        socket.pipe(on).pipe(socket)
      }
      if (!head.toString('latin1').startsWith('GET /ws/job/')) return carry()
      self.sockets++
      logs.add(socket)
      socket.on('close', () => logs.delete(socket))
      if (held) held.push(carry)
      else carry()
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  self.url = `http://127.0.0.1:${listener.address().port}`
  t.after(() => {
    listener.close()
    for (const socket of all) socket.destroy()
  })
  return self
}
