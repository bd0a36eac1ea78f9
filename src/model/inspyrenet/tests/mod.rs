//! Every stage against PyTorch's; see `tests/golden/inspyrenet/make.py`.

mod formula;
mod pace;
mod parity;
