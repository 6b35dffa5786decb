//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it waits with epoll and measures with /proc, which only Linux has")
	os.Exit(1)
}
