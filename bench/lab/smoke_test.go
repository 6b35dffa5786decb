//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	prog, err := FindNode(t.Context(), os.Getenv("VNODE"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{Program: prog, Cores: SplitCores(1), Doing: func(s string, d time.Duration) { fmt.Println(s, d) }}
	if err := l.Cores.Apply(); err != nil {
		t.Fatal(err)
	}
	e, err := Find(os.Getenv("EXP"))
	if err != nil {
		t.Fatal(err)
	}
	p := e.Default
	if tr := os.Getenv("TR"); tr != "" {
		p.Transport = tr
	}
	if n := os.Getenv("N"); n != "" {
		fmt.Sscan(n, &p.Visitors)
	}
	if n := os.Getenv("RATE"); n != "" {
		fmt.Sscan(n, &p.Rate)
	}
	if n := os.Getenv("D"); n != "" {
		p.Duration, _ = time.ParseDuration(n)
	}
	runs, err := l.Run(t.Context(), e, p)
	for _, r := range runs {
		if r.Latency != nil {
			r.Latency.CDF = nil
		}
		if r.Joins != nil {
			r.Joins.CDF = nil
		}
		b, _ := json.Marshal(r)
		fmt.Println(string(b))
	}
	if err != nil {
		t.Fatal(err)
	}
}
