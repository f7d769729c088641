// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// newAuditLogger returns a logger that writes every line it is given: at its usual level it would drop those that come
// in numbers. Lines are written together a few times a second, since a flood of requests without a key must not cost a
// write each; flush writes what is left. Only a process that is killed loses the last of them.
func newAuditLogger(o options) (logger logr.Logger, flush func()) {
	const allLevels, flushInterval, bufferSize = -2, 100 * time.Millisecond, 256 << 10
	writer := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(os.Stderr), FlushInterval: flushInterval, Size: bufferSize}
	logger = zap.New(zap.UseFlagOptions(&o.log), zap.Level(zapcore.Level(allLevels)), zap.WriteTo(writer)).WithName("audit")
	return logger, func() { _ = writer.Stop() } // there is nowhere to tell that stderr takes nothing
}
