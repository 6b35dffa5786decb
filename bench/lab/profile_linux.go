package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"vnode/bench/report"
)

// profile starts a CPU profile of the node if one is wanted. What it returns
// waits for it, writes it and returns the share of samples that were in a
// system call; 0 when there is no profile.
func (s *stage) profile(ctx context.Context, d time.Duration) func() (float64, error) {
	if s.p.Profile == "" {
		return func() (float64, error) { return 0, nil }
	}
	type result struct {
		share float64
		err   error
	}
	done := make(chan result, 1)
	go func() {
		share, err := fetchProfile(ctx, s.target.Admin, d, s.p.Profile)
		done <- result{share, err}
	}()
	return func() (float64, error) {
		r := <-done
		if r.err != nil {
			return 0, fmt.Errorf("no profile: %w", r.err)
		}
		return r.share, nil
	}
}

// noteProfile adds what the function returned by profile has said.
func noteProfile(r *report.Run, share float64, err error) {
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
	} else if share > 0 {
		r.Metrics[report.ProfileKernelShare] = share
	}
}

func fetchProfile(ctx context.Context, admin Admin, d time.Duration, path string) (float64, error) {
	if admin.Addr == "" {
		return 0, errors.New("the node's admin listener is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, d+15*time.Second)
	defer cancel()
	req, err := admin.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%.0f", max(1, d.Seconds())))
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the node's admin listener answered %s to a request for a profile", res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return 0, err
	}
	return kernelShare(b)
}

var errProfile = errors.New("it is not a CPU profile in pprof's format")

// kernelShare returns the share of a CPU profile's time whose innermost frame
// is a system call: what Go's profiler sees of the kernel.
func kernelShare(gzipped []byte) (float64, error) {
	z, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		return 0, errProfile
	}
	raw, err := io.ReadAll(io.LimitReader(z, 256<<20))
	if err != nil {
		return 0, errProfile
	}
	p, err := parseProfile(raw)
	if err != nil {
		return 0, err
	}
	var kernel, all float64
	for _, s := range p.samples {
		all += float64(s.time)
		if isSystemCall(p.strings[p.names[p.functions[s.leaf]]]) {
			kernel += float64(s.time)
		}
	}
	if all == 0 {
		return 0, errors.New("the profile has no samples: the node was idle")
	}
	return kernel / all, nil
}

// isSystemCall knows the stubs of the runtime that enter the kernel.
func isSystemCall(function string) bool {
	name := function[strings.LastIndexByte(function, '/')+1:]
	switch name[strings.IndexByte(name, '.')+1:] {
	case "Syscall6", "RawSyscall6", "rawSyscallNoError", "futex", "epollwait", "usleep", "write1", "madvise", "tgkill", "nanotime1", "vgetrandom1", "mmap", "munmap":
		return true
	}
	return false
}

// cpuProfile is what of a profile.proto is needed.
type cpuProfile struct {
	samples   []profileSample
	functions map[uint64]uint64 // innermost function by location
	names     map[uint64]uint64 // name's index by function
	strings   map[uint64]string
}

type profileSample struct {
	leaf uint64 // location
	time int64
}

// parseProfile reads the fields of the message Profile: 2 sample, 4 location,
// 5 function, 6 string_table.
func parseProfile(b []byte) (*cpuProfile, error) {
	p := &cpuProfile{functions: map[uint64]uint64{}, names: map[uint64]uint64{}, strings: map[uint64]string{}}
	err := fields(b, func(field protowire.Number, _ uint64, data []byte) error {
		switch field {
		case 2:
			return p.sample(data)
		case 4:
			id, line, err := idAnd(data, 4)
			if err != nil {
				return err
			}
			if _, known := p.functions[id]; !known && line != nil {
				// Line: 1 function_id.
				p.functions[id], _, err = idAnd(line, 0)
			}
			return err
		case 5:
			return p.function(data)
		case 6:
			p.strings[uint64(len(p.strings))] = string(data)
		}
		return nil
	})
	return p, err
}

// sample reads a Sample: 1 location_id, innermost first, 2 value, of which the
// last is the time.
func (p *cpuProfile) sample(b []byte) error {
	var s profileSample
	first := true
	err := fields(b, func(field protowire.Number, n uint64, data []byte) error {
		numbers := []uint64{n}
		if data != nil {
			numbers = nil
			for len(data) > 0 {
				v, size := protowire.ConsumeVarint(data)
				if size < 0 {
					return errProfile
				}
				numbers, data = append(numbers, v), data[size:]
			}
		}
		switch {
		case len(numbers) == 0:
		case field == 1 && first:
			s.leaf, first = numbers[0], false
		case field == 2:
			s.time = int64(numbers[len(numbers)-1])
		}
		return nil
	})
	p.samples = append(p.samples, s)
	return err
}

// function reads a Function: 1 id, 2 name.
func (p *cpuProfile) function(b []byte) error {
	var id, name uint64
	err := fields(b, func(field protowire.Number, n uint64, _ []byte) error {
		switch field {
		case 1:
			id = n
		case 2:
			name = n
		}
		return nil
	})
	p.names[id] = name
	return err
}

// idAnd returns field 1, a number, and the first of another field that is a
// message.
func idAnd(b []byte, other protowire.Number) (id uint64, message []byte, err error) {
	err = fields(b, func(field protowire.Number, n uint64, data []byte) error {
		switch {
		case field == 1:
			id = n
		case field == other && message == nil:
			message = data
		}
		return nil
	})
	return id, message, err
}

// fields calls f for each field: with its number, or with its bytes.
func fields(b []byte, f func(field protowire.Number, n uint64, data []byte) error) error {
	for len(b) > 0 {
		field, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errProfile
		}
		b = b[size:]
		var n uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(b)
			if data == nil {
				data = []byte{}
			}
		default:
			size = protowire.ConsumeFieldValue(field, kind, b)
		}
		if size < 0 {
			return errProfile
		}
		b = b[size:]
		if err := f(field, n, data); err != nil {
			return err
		}
	}
	return nil
}
