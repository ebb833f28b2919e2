package gpu

import (
	"errors"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// row is what nvidia-smi said of one GPU, by field.
type row map[string]string

// parse keeps the lines that describe a GPU. nvidia-smi mixes messages into them,
// about a GPU that is lost, say.
func parse(out []byte, fields []string) []row {
	var rows []row
	for line := range strings.Lines(string(out)) {
		values := strings.Split(line, ",")
		if len(values) != len(fields) {
			continue
		}
		r := make(row, len(fields))
		for i, f := range fields {
			r[f] = strings.TrimSpace(values[i])
		}
		if strings.HasPrefix(r["uuid"], "GPU-") && len(r["uuid"]) <= 96 {
			rows = append(rows, r)
		}
	}
	return rows
}

// text is a field's value, "" where the driver has none: [N/A], [Not Supported],
// [Unknown Error], N/A. It is cut to what an inventory takes.
func (r row) text(field string) string {
	v := r[field]
	if strings.HasPrefix(v, "[") || v == "N/A" || v == "Not Supported" {
		return ""
	}
	return clean(v, longest(field))
}

// clean keeps what prints, up to so many bytes.
func clean(s string, most int) string {
	var b strings.Builder
	for _, c := range s {
		if b.Len()+utf8.RuneLen(c) > most {
			break
		}
		if unicode.IsPrint(c) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// longest is how many bytes the protocol has room for.
func longest(field string) int {
	switch field {
	case "name":
		return 128
	case "compute_cap":
		return 16
	case "pci.bus_id":
		return 32
	}
	return 64
}

// number is a field's value as a whole number, 0 where the driver has none.
func (r row) number(field string) int {
	v, err := strconv.ParseFloat(r.text(field), 64)
	if err != nil || !(v >= 0) || v > math.MaxInt32 {
		return 0
	}
	return int(math.Round(v))
}

// diagnoses are the ways in which drivers are known to be out of order.
var diagnoses = []struct{ says, reason, fix string }{
	{
		"couldn't communicate with the NVIDIA driver",
		"the NVIDIA driver is installed, but not loaded",
		"reboot after installing it, or run: sudo modprobe nvidia (with Secure Boot its modules have to be signed)",
	},
	{
		"Driver/library version mismatch",
		"the NVIDIA driver was updated while the old one is still loaded",
		"reboot",
	},
	{
		"couldn't find libnvidia-ml.so",
		"nvidia-smi is installed without its driver library",
		"install the driver again; in a container, start it with --gpus all",
	},
	{
		"Insufficient Permissions",
		"this user may not use the GPUs",
		"give the agent's user access to /dev/nvidia*",
	},
	{
		"GPU is lost",
		"a GPU fell off the bus",
		"reboot; if it happens again, check its power supply and seat, and look for Xid messages in dmesg",
	},
	{
		"Unable to determine the device handle",
		"a GPU does not answer its driver",
		"reboot; if it happens again, check its power supply and seat, and look for Xid messages in dmesg",
	},
	{
		"requires reset",
		"a GPU needs a reset",
		"end what uses it and run: sudo nvidia-smi --gpu-reset, or reboot",
	},
}

// diagnose says what a failed run means.
func diagnose(out []byte, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	text := string(out)
	for _, d := range diagnoses {
		if strings.Contains(text, d.says) {
			return &Error{Reason: d.reason, Fix: d.fix}
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return &Error{Reason: "nvidia-smi cannot be run: " + err.Error(), Fix: "give the agent's user the right to execute it"}
	}
	e := &Error{Reason: "nvidia-smi failed", Fix: "run nvidia-smi in a terminal to see what is wrong"}
	if err != nil {
		e.Reason += " (" + err.Error() + ")"
	}
	if first, _, _ := strings.Cut(strings.TrimSpace(text), "\n"); first != "" {
		e.Reason += ": " + clean(first, 200)
	}
	return e
}
