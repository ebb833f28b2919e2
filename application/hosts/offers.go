package hosts

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// market keeps the offers for a moment: browsing is frequent, and changes are told.
type market struct {
	mu     sync.Mutex
	offers []Offer
	until  time.Time
	uptime map[domain.ID]uptime
}

type uptime struct {
	share float64
	until time.Time
}

func newMarket() *market { return &market{uptime: map[domain.ID]uptime{}} }

func (m *market) forget() {
	m.mu.Lock()
	m.until = time.Time{}
	m.mu.Unlock()
}

const (
	marketTTL  = time.Second
	uptimeTTL  = time.Minute
	uptimeDays = 90
	hostsPage  = 1000
)

// offers lists what active, connected hosts offer. The caller may change the copies.
func (s *Service) offers(ctx context.Context) ([]Offer, error) {
	now := s.Clock.Now()
	s.market.mu.Lock()
	if now.Before(s.market.until) {
		defer s.market.mu.Unlock()
		return slices.Clone(s.market.offers), nil
	}
	s.market.mu.Unlock()
	var offers []Offer
	err := s.eachHost(ctx, func(h hosts.Snapshot, p hosts.Presence) error {
		if h.Standing != hosts.Active || !s.online(p) {
			return nil
		}
		up, err := s.uptimeShare(ctx, h, now)
		for _, o := range grouped(h) {
			o.Uptime = up
			offers = append(offers, o)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.market.mu.Lock()
	defer s.market.mu.Unlock()
	s.market.offers, s.market.until = offers, now.Add(marketTTL)
	return slices.Clone(offers), nil
}

// eachHost goes through all hosts that are not retired, with their presence.
func (s *Service) eachHost(ctx context.Context, visit func(hosts.Snapshot, hosts.Presence) error) error {
	page := ports.Page{Limit: hostsPage}
	for {
		list, err := s.Hosts.List(ctx, ports.HostFilter{}, page)
		if err != nil || len(list) == 0 {
			return err
		}
		present, err := s.presences(ctx, list)
		if err != nil {
			return err
		}
		for _, h := range list {
			if err := visit(h, present[h.ID]); err != nil {
				return err
			}
		}
		page.After = list[len(list)-1].ID
	}
}

// grouped makes offers of a host's listed devices.
func grouped(h hosts.Snapshot) []Offer {
	var offers []Offer
	slots := int64(max(1, presentDevices(h)))
	for _, d := range h.Devices {
		if !d.Listed || !d.Present {
			continue
		}
		i := slices.IndexFunc(offers, func(o Offer) bool { return o.Model == d.Model && o.Price == d.Price })
		if i < 0 {
			i = len(offers)
			o := Offer{
				Host: h, Model: d.Model, VRAMMB: d.VRAMMB, Price: d.Price, Driver: d.Driver,
				CPUMilliPerGPU: int64(h.Facts.CPUs) * 1000 / slots, MemoryMBPerGPU: h.Facts.MemoryMB / slots,
				DiskMBPerGPU: h.Facts.DiskMB / slots, Reliability: Rate(h),
				text: strings.ToLower(h.Name + " " + d.Model + " " + strings.Join(h.Tags, " ") + " " + h.Region),
			}
			if m, ok := hosts.Lookup(d.Model); ok {
				o.TFLOPS = float64(m.TensorTFLOPS10) / 10
				if d.Price > 0 {
					o.PerDollar = math.Round(o.TFLOPS*1e6/float64(d.Price)*100) / 100
				}
			}
			offers = append(offers, o)
		}
		offers[i].GPUs++
		offers[i].devices = append(offers[i].devices, d.ID)
	}
	return offers
}

func presentDevices(h hosts.Snapshot) int {
	n := 0
	for _, d := range h.Devices {
		if d.Present {
			n++
		}
	}
	return n
}

// Rate is the reliability that the match reckons with.
func Rate(h hosts.Snapshot) float64 {
	return float64(h.Succeeded+9) / float64(h.Runs+10)
}

func (s *Service) uptimeShare(ctx context.Context, h hosts.Snapshot, now time.Time) (float64, error) {
	s.market.mu.Lock()
	known, ok := s.market.uptime[h.ID]
	s.market.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.share, nil
	}
	days, err := s.uptime(ctx, h, now)
	share := Share(days)
	s.market.mu.Lock()
	s.market.uptime[h.ID] = uptime{share, now.Add(uptimeTTL)}
	s.market.mu.Unlock()
	return share, err
}

func (s *Service) uptime(ctx context.Context, h hosts.Snapshot, now time.Time) ([]hosts.Day, error) {
	from := now.Add(-uptimeDays * 24 * time.Hour)
	if h.CreatedAt.After(from) {
		from = h.CreatedAt
	}
	intervals, err := s.Presences.Intervals(ctx, h.ID, from)
	return hosts.Uptime(intervals, from, now), err
}

// Share is the part of the days that a host was online.
func Share(days []hosts.Day) float64 {
	var online, of time.Duration
	for _, d := range days {
		online += d.Online
		of += d.Of
	}
	if of == 0 {
		return 0
	}
	return float64(online) / float64(of)
}

// PublicHost is a host as everybody sees it.
type PublicHost struct {
	View
	OwnerHandle, OwnerName string
	Days                   []hosts.Day
}

// MarketHost shows a host to everybody; one that is suspended or was removed is not
// there.
func (s *Service) MarketHost(ctx context.Context, id domain.ID) (PublicHost, error) {
	h, err := s.Hosts.Get(ctx, id, domain.ID{})
	if err == nil && (h.Standing == hosts.Suspended || h.Standing == hosts.Retired) {
		err = domain.NotFound("host")
	}
	if err != nil {
		return PublicHost{}, err
	}
	views, err := s.views(ctx, []hosts.Snapshot{h})
	if err != nil {
		return PublicHost{}, err
	}
	owner, err := s.Users.Get(ctx, h.Owner)
	if err != nil {
		return PublicHost{}, err
	}
	days, err := s.uptime(ctx, h, s.Clock.Now())
	return PublicHost{View: views[0], OwnerHandle: owner.Handle, OwnerName: owner.Name, Days: days}, err
}

// Slots shows jobs the market: every device of every host.
func (s *Service) Slots(ctx context.Context, visit func(h hosts.Snapshot, online bool, slots int)) error {
	return s.eachHost(ctx, func(h hosts.Snapshot, p hosts.Presence) error {
		visit(h, h.Standing == hosts.Active && s.online(p), presentDevices(h))
		return nil
	})
}

// SlotsOf is Slots for these hosts; those that are unknown or were removed are not visited.
func (s *Service) SlotsOf(ctx context.Context, ids []domain.ID, visit func(h hosts.Snapshot, online bool, slots int)) error {
	if len(ids) == 0 {
		return ctx.Err()
	}
	list, err := s.Hosts.List(ctx, ports.HostFilter{IDs: ids}, ports.Page{Limit: len(ids)})
	if err != nil {
		return err
	}
	present, err := s.presences(ctx, list)
	if err != nil {
		return err
	}
	for _, h := range list {
		visit(h, h.Standing == hosts.Active && s.online(present[h.ID]), presentDevices(h))
	}
	return nil
}
