// Package bridge shows one bounded context to another, in process: the market to jobs,
// money to jobs, occupancy to hosts, endings to billing, and the rules of a ZIP to jobs.
package bridge

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/openapi/bundle"
	"github.com/peergpu/peergpu/ports"
)

// Offers is hosts as jobs sees it.
type Offers struct{ Hosts *hosts.Service }

// All gives every device of every host that is not retired.
func (o Offers) All(ctx context.Context) ([]ports.Offer, error) {
	var all []ports.Offer
	err := o.Hosts.Slots(ctx, func(h domainhosts.Snapshot, online bool, slots int) { all = append(all, offers(h, online, slots)...) })
	return all, err
}

// Of gives the devices of these hosts.
func (o Offers) Of(ctx context.Context, hosts ...domain.ID) ([]ports.Offer, error) {
	var all []ports.Offer
	err := o.Hosts.SlotsOf(ctx, hosts, func(h domainhosts.Snapshot, online bool, slots int) { all = append(all, offers(h, online, slots)...) })
	return all, err
}

// Heard tells when hosts were last heard of.
func (o Offers) Heard(ctx context.Context, ids ...domain.ID) (map[domain.ID]time.Time, error) {
	if len(ids) == 0 {
		return nil, ctx.Err() // hosts would tell of all
	}
	return o.Hosts.Heard(ctx, ids...)
}

// offers makes slots of a host: each device with 1/n of the machine.
func offers(h domainhosts.Snapshot, online bool, slots int) []ports.Offer {
	n := int64(max(1, slots))
	all := make([]ports.Offer, 0, len(h.Devices))
	for _, d := range h.Devices {
		all = append(all, ports.Offer{
			HostName: h.Name, UUID: d.UUID,
			Slot: domainjobs.Slot{
				DeviceID: d.ID, HostID: h.ID, Owner: h.Owner, GPUModel: d.Model, VRAMMB: d.VRAMMB, Price: d.Price,
				CPUMilli: int64(h.Facts.CPUs) * 1000 / n, MemoryMB: h.Facts.MemoryMB / n, DiskMB: h.Facts.DiskMB / n,
				Tags: h.Tags, Region: h.Region, Verified: h.Verified,
				Isolation: domainjobs.Isolation(h.Facts.Isolation), Trusted: h.Facts.Trusted,
				OK: h.Succeeded, Runs: h.Runs, BandwidthMbps: h.BandwidthMbps,
				Online: online && d.Present, Listed: d.Listed, Version: d.Version,
			},
		})
	}
	return all
}

// Funds is billing as jobs sees it.
type Funds struct{ *billing.Service }

// Occupancy is jobs as hosts sees it. It is set after both were made, because each
// needs the other.
type Occupancy struct{ Jobs *jobs.Service }

// Busy tells the job that has each of the devices.
func (o *Occupancy) Busy(devices ...domain.ID) map[domain.ID]domain.ID {
	if o.Jobs == nil {
		return nil
	}
	return o.Jobs.Busy(devices...)
}

// Endings is jobs as billing sees it.
type Endings struct{ Jobs ports.Jobs }

// Of tells how a job stands.
func (e Endings) Of(ctx context.Context, job domain.ID) (ports.Ending, error) {
	j, err := e.Jobs.Get(ctx, job, domain.ID{})
	if err != nil {
		return ports.Ending{}, err
	}
	end := ports.Ending{Renter: j.Renter, Amount: j.Cost(), Over: j.State.Terminal()}
	if a := j.Current(); a != nil {
		end.Host, end.HostOwner = a.Host, a.HostOwner
	}
	return end, nil
}

// Bundles checks stored ZIPs by the rules that server and agents share.
type Bundles struct {
	Blobs  ports.Blobs
	Limits bundle.Limits
}

// Check reads the ZIP whole, by way of a temporary file, because a ZIP is read from its
// end.
func (b Bundles) Check(ctx context.Context, key string) (err error) {
	r, err := b.Blobs.Open(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	if file, ok := r.(*os.File); ok {
		return b.check(file)
	}
	file, err := os.CreateTemp("", "peergpu-bundle-*")
	if err != nil {
		return domain.Unavailable("no_space", "the bundle cannot be checked now").With(err)
	}
	defer func() {
		err = errors.Join(err, file.Close(), os.Remove(file.Name()))
	}()
	if _, err := io.Copy(file, r); err != nil {
		return domain.Unavailable("no_space", "the bundle cannot be checked now").With(err)
	}
	return b.check(file)
}

func (b Bundles) check(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return domain.Unavailable("no_space", "the bundle cannot be checked now").With(err)
	}
	_, err = bundle.Check(file, info.Size(), b.Limits)
	var broken *bundle.Error
	if errors.As(err, &broken) {
		return domain.Invalid(string(broken.Code), "%s", broken.Sentence())
	}
	return err
}
