package browser

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"vnode/internal/xmpptest/needs"
)

// T is what [Run] and [Browser.Tab] need of a testing.TB.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ErrNotInstalled is wrapped by the error of [Find]. Its text says how to
// install the browser.
var ErrNotInstalled = errors.New("chromium is not installed; run: apt-get install chromium")

// Find returns the path of the browser, looked up in PATH.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Option changes how the browser is started, e.g.
// [chromedp.IgnoreCertErrors] or
// chromedp.Flag("host-resolver-rules", "MAP meet.example 127.0.0.1:8443").
type Option = chromedp.ExecAllocatorOption

// tabLimit bounds everything a test does in one tab.
const tabLimit = 5 * time.Minute

// Browser is a running Chromium.
type Browser struct {
	// Static after construction.
	ctx context.Context // of the browser's first tab, which stays empty
}

// Run starts a browser for a test, which fails at once if that does not work.
// [needs.Programs] decides whether the test is run at all. The browser is
// killed, by its process id, at the end of the test.
func Run(t T, opts ...Option) *Browser {
	t.Helper()
	needs.Programs(t, "chromium")
	path, err := Find()
	if err != nil {
		t.Fatalf("%v", err)
	}
	// What it forgets there when it is killed. The path of a socket must be
	// short, which the test's own directory is not.
	dir, err := os.MkdirTemp("", "web")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a process of the browser may still be about to end
	all := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.Env("TMPDIR="+dir),
		// Starting slowly beside other tests is no failure.
		chromedp.WSURLReadTimeout(time.Minute),
		// Nothing but what a test names is looked up or connected to.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("disable-component-update", true))
	if os.Geteuid() == 0 {
		all = append(all, chromedp.NoSandbox) // Chromium refuses its sandbox to root
	}
	allocator, kill := chromedp.NewExecAllocator(context.Background(), append(all, opts...)...)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closeTab()
		kill()
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &Browser{ctx: ctx}
}

// Tab is a page of a browser. What tests do in it are chromedp actions, run
// with its Context, which ends with the test, or after five minutes.
type Tab struct {
	// Static after construction.
	Context context.Context

	mu       sync.Mutex
	problems []string // guarded by mu
}

// Tab opens a tab that closes at the end of the test. A test that failed logs
// what the page complained of.
func (b *Browser) Tab(t T) *Tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx)
	ctx, cancel := context.WithTimeout(ctx, tabLimit)
	tab := &Tab{Context: ctx}
	chromedp.ListenTarget(ctx, tab.note)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page complained: %q", tab.Problems())
		}
		cancel()
		closeTab()
	})
	if err := chromedp.Run(ctx, runtime.Enable(), log.Enable()); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tab
}

// Run carries out actions one after the other. It blocks until they are done,
// the first fails, or the tab's time is up.
func (tab *Tab) Run(actions ...chromedp.Action) error {
	return chromedp.Run(tab.Context, actions...)
}

// note remembers what a developer would see in red in the console: uncaught
// exceptions, console.error, blocked and failed loads.
func (tab *Tab) note(ev any) {
	var problem string
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		problem = ev.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if ev.Type != runtime.APITypeError {
			return
		}
		for _, arg := range ev.Args {
			text := string(arg.Value)
			if text == "" {
				text = arg.Description // of an object
			}
			problem += text + " "
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level != log.LevelError {
			return
		}
		problem = ev.Entry.Text + " " + ev.Entry.URL
	default:
		return
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.problems = append(tab.problems, problem)
}

// Problems returns what the page has complained of so far: uncaught
// exceptions, console errors, what a content security policy blocked, what did
// not load.
func (tab *Tab) Problems() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.problems)
}
