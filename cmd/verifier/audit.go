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

// newAuditLogger returns a logger that writes every line. Its level disables the sampling that the usual level implies.
// Lines are buffered and written several times a second, because a flood of requests without a key must not cause a
// write each. flush writes the remaining lines. Only a process that is killed loses lines.
func newAuditLogger(o options) (logger logr.Logger, flush func()) {
	const allLevels, flushInterval, bufferSize = -2, 100 * time.Millisecond, 256 << 10
	writer := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(os.Stderr), FlushInterval: flushInterval, Size: bufferSize}
	logger = zap.New(zap.UseFlagOptions(&o.log), zap.Level(zapcore.Level(allLevels)), zap.WriteTo(writer)).WithName("audit")
	return logger, func() { _ = writer.Stop() } // an error of stderr cannot be reported
}
