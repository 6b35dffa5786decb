package prosody

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// keptLines is how many lines of its log a server keeps in memory at least. It
// keeps twice as many at most; the file has all.
const keptLines = 10_000

// logBook takes the output of the process: stamps every line, appends it to
// the log file and wakes whoever waits for a line.
type logBook struct {
	// Static after construction.
	file *os.File

	// Guarded by mu.
	mu      sync.Mutex
	partial []byte
	lines   []string      // the newest
	first   int           // number of lines[0]
	changed chan struct{} // closed and replaced with every change
}

func openLog(path string) (*logBook, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &logBook{file: file, changed: make(chan struct{})}, nil
}

// Write implements io.Writer for os/exec, which calls it from one goroutine.
func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	fresh := b.split(p)
	b.mu.Unlock()
	if _, err := b.file.WriteString(fresh); err != nil {
		return 0, fmt.Errorf("prosody: write log: %w", err)
	}
	return len(p), nil
}

// split keeps the complete lines and returns them as they go to the file.
func (b *logBook) split(p []byte) string {
	var fresh strings.Builder
	stamp := time.Now().Format("15:04:05.000 ")
	b.partial = append(b.partial, p...)
	for {
		line, rest, found := bytes.Cut(b.partial, []byte{'\n'})
		if !found {
			break
		}
		b.lines = append(b.lines, stamp+string(line))
		fresh.WriteString(stamp + string(line) + "\n")
		b.partial = rest
	}
	if len(b.lines) > 2*keptLines {
		old := len(b.lines) - keptLines
		b.lines = slices.Clone(b.lines[old:])
		b.first += old
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return fresh.String()
}

// end returns the number of the next line.
func (b *logBook) end() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first + len(b.lines)
}

// search looks for a line with text from line number from on. Without one it
// returns the number to go on at and what tells of new lines.
func (b *logBook) search(from int, text string) (line string, next int, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := max(from-b.first, 0); i < len(b.lines); i++ {
		if strings.Contains(b.lines[i], text) {
			return b.lines[i], b.first + i + 1, b.changed
		}
	}
	return "", b.first + len(b.lines), b.changed
}

// wait blocks until a line with text appears at or after line number from.
func (b *logBook) wait(ctx context.Context, from int, text string, exited <-chan struct{}) (string, error) {
	for {
		line, next, changed := b.search(from, text)
		if line != "" {
			return line, nil
		}
		from = next
		select {
		case <-changed:
		case <-exited:
			// All output was written before the exit was told.
			if line, _, _ := b.search(from, text); line != "" {
				return line, nil
			}
			return "", fmt.Errorf("prosody: exited without logging %q", text)
		case <-ctx.Done():
			return "", fmt.Errorf("prosody: no %q in the log: %w", text, context.Cause(ctx))
		}
	}
}

func (b *logBook) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines[max(len(b.lines)-n, 0):], "\n")
}

func (b *logBook) close() error { return b.file.Close() }
