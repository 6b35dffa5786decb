package prosody

import (
	"errors"
	"fmt"
	"os/exec"
)

// ErrNotInstalled is wrapped by the errors of [Find] and [Start] when there is
// no prosody program. Its text says how to install it.
var ErrNotInstalled = errors.New("prosody is not installed; run: apt-get install prosody")

// Find returns the path of the prosody program, looked up in PATH.
func Find() (string, error) {
	path, err := exec.LookPath("prosody")
	if err != nil {
		return "", fmt.Errorf("%w (%v)", ErrNotInstalled, err)
	}
	return path, nil
}
