/** What a constraint of the match keeps hosts from, after their number. */
const constraints: Record<string, string> = {
  declined: 'declined it a moment ago',
  host_id: 'are not the host you chose',
  gpus: 'have too few GPUs',
  gpu_model: 'have another GPU model',
  vram: 'have too little GPU memory',
  cpus: 'have too few CPUs',
  memory: 'have too little memory',
  disk: 'have too little disk',
  tags: 'lack one of the tags',
  region: 'are in another region',
  verified: 'are not verified',
  isolation: 'isolate jobs too weakly',
  owner_only: 'run jobs of their owner alone',
  price: 'are dearer',
  unlisted: 'are not listed',
  offline: 'are offline',
  busy: 'are busy',
  combination: 'meet each demand, but not all together',
  avoided: 'lost or declined this job before',
}

const singular: Record<string, string> = { are: 'is', have: 'has', lack: 'lacks', isolate: 'isolates', run: 'runs', meet: 'meets' }

/** What a constraint keeps this many hosts from, after their number. */
export function keeps(constraint: string, hosts: number): string {
  const words = constraints[constraint] ?? constraint
  return hosts === 1 ? words.replace(/^\w+/, (verb) => singular[verb] ?? verb) : words
}
