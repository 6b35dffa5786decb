package lab

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"vnode/bench/report"
)

// Machine describes this machine, for the report.
func Machine(c Cores) report.Machine {
	m := report.Machine{Pinning: c.String()}
	describe(&m)
	return m
}

// describe fills in what the kernel tells of the machine.
func describe(m *report.Machine) {
	m.Go = runtime.Version()
	m.Cores = runtime.NumCPU()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.OS = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	for line := range strings.Lines(readText("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
}

func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}
