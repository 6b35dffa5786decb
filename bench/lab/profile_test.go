//go:build linux

package lab

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// message builds a protobuf message of (field, value) pairs: ints and strings.
func message(pairs ...any) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		field := protowire.Number(pairs[i].(int))
		switch v := pairs[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
		}
	}
	return b
}

func packed(ns ...uint64) (b []byte) {
	for _, n := range ns {
		b = protowire.AppendVarint(b, n)
	}
	return b
}

// profileOf has 3 parts in a system call, 1 elsewhere; the caller's frame does
// not count.
func profileOf() []byte {
	raw := message(
		6, "", 6, "internal/runtime/syscall/linux.Syscall6", 6, "vnode/fanout.(*shard).visit",
		5, message(1, 1, 2, 1), 5, message(1, 2, 2, 2),
		4, message(1, 11, 4, message(1, 1, 2, 40)), 4, message(1, 12, 4, message(1, 2)),
		2, message(1, packed(11, 12), 2, packed(3, 30)),
		2, message(1, 12, 2, packed(1, 10)),
	)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(raw)
	_ = w.Close()
	return z.Bytes()
}

func TestKernelShareOfAProfile(t *testing.T) {
	share, err := kernelShare(profileOf())
	require.NoError(t, err)
	require.InDelta(t, 0.75, share, 1e-9)
	_, err = kernelShare([]byte("no profile"))
	require.ErrorIs(t, err, errProfile)
}

func TestSystemCallsAreKnown(t *testing.T) {
	for name, want := range map[string]bool{
		"internal/runtime/syscall/linux.Syscall6": true, "syscall.RawSyscall6": true, "runtime.futex": true, "runtime.epollwait": true,
		"vnode/fanout.(*shard).visit": false, "runtime.mallocgc": false, "": false,
	} {
		require.Equal(t, want, isSystemCall(name), name)
	}
}

func TestAProfileIsFetchedOrItsLackTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.pprof")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/debug/pprof/profile" || r.URL.Query().Get("seconds") != "2" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(profileOf())
	}))
	defer srv.Close()
	admin := Admin{Addr: strings.TrimPrefix(srv.URL, "http://"), Token: "secret"}
	share, err := fetchProfile(t.Context(), admin, 2*time.Second, path)
	require.NoError(t, err)
	require.InDelta(t, 0.75, share, 1e-9)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, profileOf(), written)
	_, err = fetchProfile(t.Context(), admin, 3*time.Second, path)
	require.ErrorContains(t, err, "404")
	_, err = fetchProfile(t.Context(), Admin{}, time.Second, path)
	require.ErrorContains(t, err, "admin listener")
	_, err = fetchProfile(t.Context(), Admin{Addr: admin.Addr}, 2*time.Second, path)
	require.ErrorContains(t, err, "401")
}

func FuzzProfiles(f *testing.F) {
	f.Add(profileOf())
	f.Add(message(2, message(1, 12, 2, packed(1, 10))))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseProfile(b)
		share, err := kernelShare(b)
		if err == nil {
			require.True(t, share >= 0 && share <= 1, share)
		}
	})
}
