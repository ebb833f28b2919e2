package hosts

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
)

// Load is what a heartbeat says of a GPU; what is not known is 0.
type Load struct {
	UUID         string `json:"-"`           // of the GPU, as the driver names it
	Utilization  int    `json:"utilization"` // percent
	MemoryUsedMB int64  `json:"memory_used_mb"`
	TemperatureC int    `json:"temperature_c"` // degrees Celsius
	PowerW       int    `json:"power_w"`       // watts
}

// Sample is the load of a device at a moment.
type Sample struct {
	At time.Time
	Load
}

// DeviceLoad is the load of a device now.
type DeviceLoad struct {
	Device domain.ID `json:"device"`
	Load
}

// Loads is what LoadTopic tells, as JSON.
type Loads struct {
	Host    domain.ID    `json:"host"`
	At      time.Time    `json:"at"`
	Devices []DeviceLoad `json:"devices"`
}

// LoadTopic is where the load of an owner's hosts is published live, as JSON of Loads.
func LoadTopic(owner domain.ID) string { return "load:" + owner.String() }

// loadsTopic is where replicas tell each other the load of the hosts that are connected to
// them, as JSON of Loads.
const loadsTopic = "loads"

// How much is kept of a device.
const (
	keptFor  = 10 * time.Minute
	keptPace = time.Second // between two samples
)

// telemetry is the latest load of all hosts. It is in memory alone: it is worth a look
// while it is fresh, and a database would write little else.
type telemetry struct {
	mu    sync.Mutex
	hosts map[domain.ID]*gauges
}

// gauges are the devices of one host.
type gauges struct {
	owner   domain.ID            // zero while the host was never connected here
	devices map[string]domain.ID // by the driver's name; of a host that was
	samples map[domain.ID][]Sample
}

func newTelemetry() *telemetry { return &telemetry{hosts: map[domain.ID]*gauges{}} }

// take keeps what another replica heard.
func (m *telemetry) take(message []byte, now time.Time) {
	var told Loads
	if message == nil || json.Unmarshal(message, &told) != nil {
		return // it was lost, or is of another version: the next comes soon
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.hosts[told.Host]
	if g == nil {
		g = &gauges{samples: map[domain.ID][]Sample{}}
		m.hosts[told.Host] = g
	}
	for _, l := range told.Devices {
		g.keep(l.Device, l.Load, now)
	}
}

// keep adds a sample, unless one of this moment is there.
func (g *gauges) keep(device domain.ID, l Load, now time.Time) {
	kept := since(g.samples[device], now)
	if n := len(kept); n == 0 || now.Sub(kept[n-1].At) >= keptPace {
		kept = append(kept, Sample{now, l})
	}
	g.samples[device] = kept
}

// know takes over which devices a host has.
func (m *telemetry) know(h hosts.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.Standing == hosts.Retired {
		delete(m.hosts, h.ID)
		return
	}
	g := m.hosts[h.ID]
	if g == nil {
		g = &gauges{samples: map[domain.ID][]Sample{}}
		m.hosts[h.ID] = g
	}
	g.owner = h.Owner
	g.devices = make(map[string]domain.ID, len(h.Devices))
	for _, d := range h.Devices {
		g.devices[d.UUID] = d.ID
	}
}

// note keeps what a heartbeat said and tells it by device. What the host never reported
// to have is left out.
func (m *telemetry) note(host domain.ID, loads []Load, now time.Time) (owner domain.ID, told Loads) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.hosts[host]
	told = Loads{Host: host, At: now}
	if g == nil {
		return domain.ID{}, told
	}
	for _, l := range loads {
		device, known := g.devices[l.UUID]
		if !known {
			continue
		}
		told.Devices = append(told.Devices, DeviceLoad{device, l})
		g.keep(device, l, now)
	}
	return g.owner, told
}

// since drops what is too old to be kept.
func since(samples []Sample, now time.Time) []Sample {
	old := 0
	for old < len(samples) && now.Sub(samples[old].At) > keptFor {
		old++
	}
	return samples[old:]
}

// sweep drops the samples of hosts that are silent.
func (m *telemetry) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.hosts {
		for device, samples := range g.samples {
			if g.samples[device] = since(samples, now); len(g.samples[device]) == 0 {
				delete(g.samples, device)
			}
		}
	}
}

func (m *telemetry) of(host, device domain.ID, now time.Time) []Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.hosts[host]
	if g == nil {
		return nil
	}
	return slices.Clone(since(g.samples[device], now))
}

// Heartbeat notes that the host is alive, and its load. It touches memory only; Persist
// writes down who is alive, all at once.
func (s *Service) Heartbeat(x Session, loads []Load) {
	now := s.Clock.Now()
	fenced := !s.beats.note(hosts.Presence{Host: x.Host, Epoch: x.Epoch, Connected: true, LastBeat: now})
	if fenced || len(loads) == 0 {
		return
	}
	owner, told := s.telemetry.note(x.Host, loads, now)
	if len(told.Devices) == 0 {
		return
	}
	message, err := json.Marshal(told)
	if err != nil {
		s.Log.Error("a load cannot be told", "host", x.Host.Prefixed("hst"), "error", err)
		return
	}
	s.Live.Publish(LoadTopic(owner), message)
	s.Live.Elsewhere(loadsTopic, message)
}

// DeviceTelemetry is the load of a device over the last ten minutes, oldest first.
type DeviceTelemetry struct {
	Device  domain.ID
	Samples []Sample
}

// Telemetry shows the load of a host of the account, or of any to an admin: of each
// device of which something was heard. It begins anew with the server.
func (s *Service) Telemetry(ctx context.Context, who domain.Actor, id domain.ID) ([]DeviceTelemetry, error) {
	v, err := s.Get(ctx, who, id)
	if err != nil {
		return nil, err
	}
	var list []DeviceTelemetry
	now := s.Clock.Now()
	for _, d := range v.Devices {
		if samples := s.telemetry.of(id, d.ID, now); len(samples) > 0 {
			list = append(list, DeviceTelemetry{d.ID, samples})
		}
	}
	return list, nil
}
