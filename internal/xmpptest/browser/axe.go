package browser

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	cdp "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Module reads a file of the npm modules that package.json names, e.g.
// "axe-core/axe.min.js". The error says how to install them.
func Module(name string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	b, err := os.ReadFile(moduleFile(here, name))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("npm module: %w; run: .ci/deps test", err)
	}
	return string(b), err
}

// moduleFile is where a module's file lies, beside this package's source. With
// -trimpath the compiler names sources by their import path; tests run in the
// directory of their package then, and the module's root is above it.
func moduleFile(source, name string) string {
	const modules = "node_modules"
	if filepath.IsAbs(source) {
		return filepath.Join(filepath.Dir(source), modules, name)
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, "internal/xmpptest/browser", modules, name)
}

// Violation is a rule of accessibility that a page breaks.
type Violation struct {
	ID     string // axe's name of the rule
	Impact string
	Help   string
	Nodes  []string // the elements, as HTML
}

func (v Violation) String() string {
	return fmt.Sprintf("%s (%s): %s\n  %s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n  "))
}

// check runs every rule of WCAG 2.2 level AA and of good practice.
const check = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r =>
  r.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help,
    Nodes: v.nodes.map(n => n.html + " " + n.failureSummary)})))`

// Axe checks the tab's page with axe-core: WCAG 2.2 level AA and good
// practice. It blocks until the check is done.
func (tab *Tab) Axe() ([]Violation, error) {
	axe, err := Module("axe-core/axe.min.js")
	if err != nil {
		return nil, err
	}
	var found []Violation
	await := func(p *cdp.EvaluateParams) *cdp.EvaluateParams { return p.WithAwaitPromise(true) }
	err = tab.Run(
		chromedp.Evaluate(axe+";0", nil),
		chromedp.Evaluate(check, &found, await),
	)
	if err != nil {
		return nil, fmt.Errorf("axe: %w", err)
	}
	return found, nil
}
