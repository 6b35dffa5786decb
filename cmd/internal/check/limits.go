package check

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vnode/cmd/internal/config"
)

// What a visitor costs, roughly and rather too much than too little.
const (
	spareFiles     = 256      // listeners, main, jicofo, logs
	bytesPerSocket = 16 << 10 // of TCP memory, when a few lag at a time
)

// number reads one number of /proc/sys; ok is false where there is none.
func (c *checker) number(path string, field int) (int, bool) {
	b, err := os.ReadFile(filepath.Join(c.Root, "proc/sys", path))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(b))
	if field >= len(fields) {
		return 0, false
	}
	n, err := strconv.Atoi(fields[field])
	return n, err == nil
}

// lookLimits is whether the machine lets the node carry the visitors asked for.
func (c *checker) lookLimits(ctx context.Context) []Finding {
	const sysctl = "/etc/sysctl.d/90-vnode.conf"
	var bad []Finding
	warn := func(what, why, file, fix string) {
		bad = append(bad, Finding{Level: Warn, What: fmt.Sprintf("%s, for %d visitors", what, c.Visitors), Why: why, File: file, Fix: fix})
	}
	want := c.Visitors + spareFiles
	if have := c.maxFiles(ctx); have > 0 && have < want {
		warn(fmt.Sprintf("the node may open %d files", have), "Each visitor is one; beyond that connections are refused.",
			"/etc/systemd/system/vnode@.service.d/limits.conf", fmt.Sprintf("LimitNOFILE=%d below [Service], then systemctl daemon-reload and restart the node", roundUp(want)))
	}
	for _, l := range []struct {
		key  string
		have int
	}{{"max-connections", c.cfg.MaxConnections}, {"max-visitors", c.cfg.MaxVisitors}, {"max-visitors-per-room", c.cfg.MaxVisitorsPerRoom}} {
		if c.Visitors > l.have {
			warn(fmt.Sprintf("%s is %d", l.key, l.have), "The node refuses more.", c.files.config, fmt.Sprintf("%s = %d", l.key, roundUp(want)))
		}
	}
	if c.proxyElsewhere() && c.Visitors > c.cfg.MaxPerAddress {
		warn(fmt.Sprintf("max-connections-per-address is %d", c.cfg.MaxPerAddress), "A proxy on another machine is one address for all visitors.", c.files.config,
			fmt.Sprintf("max-connections-per-address = %d; or trusted-proxies = [\"ADDRESS-OF-NGINX\"] and an X-Forwarded-For in its location of xmpp-websocket", roundUp(want)))
	}
	set := func(name, value, because string, have int) {
		warn(fmt.Sprintf("%s is %d", name, have), because, sysctl, fmt.Sprintf("%s = %s, then sysctl --system", name, value))
	}
	// A thousand browsers reconnect within a second after an outage.
	if n, known := c.number("net/core/somaxconn", 0); known && n < min(4096, c.Visitors) {
		set("net.core.somaxconn", "4096", "When many visitors come at once the kernel drops what it cannot queue.", n)
	}
	if low, known := c.number("net/ipv4/ip_local_port_range", 0); known {
		high, _ := c.number("net/ipv4/ip_local_port_range", 1)
		if high-low < c.Visitors+c.Visitors/4 {
			set("net.ipv4.ip_local_port_range", "10000 65535", "nginx uses one local port for each visitor it passes on to the node.", high-low)
		}
	}
	if pages, known := c.number("net/ipv4/tcp_mem", 2); known {
		need := c.Visitors * bytesPerSocket / os.Getpagesize() * 2 // nginx has a socket for each, too
		if pages < need {
			set("net.ipv4.tcp_mem", fmt.Sprintf("%d %d %d", need/2, need*3/4, need), "Beyond it the kernel drops what sockets hold, and visitors lag.", pages)
		}
	}
	if n, known := c.number("net/netfilter/nf_conntrack_max", 0); known && n < 4*c.Visitors {
		set("net.netfilter.nf_conntrack_max", strconv.Itoa(roundUp(4*c.Visitors)), "The firewall follows each connection, browser to nginx and nginx to node, and drops what it cannot.", n)
	}
	if n, known := c.number("fs/file-max", 0); known && n < 3*want {
		set("fs.file-max", strconv.Itoa(roundUp(3*want)), "It is the limit of the whole machine.", n)
	}
	return all(bad, fmt.Sprintf("files, ports, queues and memory do for %d visitors", c.Visitors))
}

// proxyElsewhere reports whether visitors come through a proxy on another machine
// that is not believed to say who they are. One on this machine is not counted.
func (c *checker) proxyElsewhere() bool {
	if len(c.cfg.TrustedProxies) > 0 {
		return false
	}
	for _, address := range c.cfg.HTTP {
		if network, address := config.Network(address); network == "tcp" {
			host, _, err := net.SplitHostPort(address)
			if a := net.ParseIP(host); err == nil && (a == nil || !a.IsLoopback()) {
				return true
			}
		}
	}
	return false
}

// roundUp is the next power of two.
func roundUp(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// maxFiles is the running node's limit, else what the unit would give it, else
// this process' own.
func (c *checker) maxFiles(ctx context.Context) int {
	if c.running != nil {
		if m, err := c.running.metrics(ctx); err == nil && m["process_max_fds"] > 0 {
			return int(m["process_max_fds"])
		}
	}
	if m := limitNOFILE.FindAllStringSubmatch(c.unit(), -1); m != nil {
		// The pattern has let digits through only.
		n, _ := strconv.Atoi(m[len(m)-1][1])
		return n
	}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return int(min(r.Max, 1<<30))
}

// unit is the text of the unit, the administrator's before the package's, and of its
// drop-ins; a later line counts.
func (c *checker) unit() string {
	var text []byte
	for _, dir := range []string{"usr/lib", "etc"} {
		if own, err := os.ReadFile(filepath.Join(c.Root, dir, "systemd/system/vnode@.service")); err == nil {
			text = own
		}
	}
	// Glob sorts, as systemd does, and the pattern is good.
	dropIns, _ := filepath.Glob(filepath.Join(c.Root, "etc/systemd/system/vnode@.service.d/*.conf"))
	for _, path := range dropIns {
		more, _ := os.ReadFile(path)
		text = append(append(text, '\n'), more...)
	}
	return string(text)
}

var (
	limitNOFILE       = regexp.MustCompile(`(?m)^LimitNOFILE=([0-9]{1,9})\s*$`)
	workerConnections = regexp.MustCompile(`(?m)^[^#\n]*worker_connections\s+([0-9]{1,9})\s*;`)
	workerProcesses   = regexp.MustCompile(`(?m)^[^#\n]*worker_processes\s+(auto|[0-9]{1,4})\s*;`)
)

// lookNginx is whether nginx may keep as many connections: two for each visitor.
func (c *checker) lookNginx(context.Context) []Finding {
	if c.files.nginx == "" {
		return []Finding{skipped("nginx is not on this machine", "worker_connections there must be twice the visitors")}
	}
	text, err := os.ReadFile(c.files.nginx)
	if err != nil {
		return []Finding{skipped(err.Error(), "run the check as root")}
	}
	// What the patterns let through are numbers; nginx' own default is 512.
	connections, workers := 512, 1
	if m := workerConnections.FindSubmatch(text); m != nil {
		connections, _ = strconv.Atoi(string(m[1]))
	}
	if m := workerProcesses.FindSubmatch(text); m != nil {
		if workers = runtime.NumCPU(); string(m[1]) != "auto" {
			workers, _ = strconv.Atoi(string(m[1]))
		}
	}
	need := 2 * c.Visitors
	if connections*workers >= need {
		return []Finding{ok(fmt.Sprintf("worker_connections do for %d visitors", c.Visitors))}
	}
	each := roundUp(need / max(workers, 1))
	return []Finding{{Level: Warn, What: fmt.Sprintf("nginx keeps %d connections (%d in each of %d workers); %d visitors need %d", connections*workers, connections, workers, c.Visitors, need),
		Why: "Beyond it nginx turns visitors away.", File: c.files.nginx,
		Fix: fmt.Sprintf("worker_connections %d; and worker_rlimit_nofile %d;, then systemctl restart nginx", each, 2*each)}}
}
