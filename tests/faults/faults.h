/// Makes one allocation of a thread fail, whoever asks for it: by operator new, by torch's allocator, by mmap.
#pragma once

extern "C" {

/// The `k`-th allocation of this thread from now on fails, from 0; none does for a negative number.
void ramet_fail_at(long k);

/// Whether one has failed since; none fails any more.
bool ramet_failed();
}
