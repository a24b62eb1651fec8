//! The processors, from `/proc/cpuinfo`.
//!
//! Always true: one entry for each logical processor, in the kernel's order.
//! Not here: load and times.

use std::io;

use serde::Serialize;

use super::Root;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    pub cpu: i32,
    pub vendor_id: String,
    pub family: String,
    pub model: String,
    pub stepping: i32,
    pub physical_id: String,
    pub core_id: String,
    /// Compat: always 1, because each entry is one logical processor.
    pub cores: i32,
    pub model_name: String,
    /// The highest clock where the kernel tells, else the present one.
    pub mhz: f64,
    /// In KB.
    pub cache_size: i32,
    /// Null where the kernel lists none.
    pub flags: Option<Vec<String>>,
    pub microcode: String,
}

/// Who makes processors of the ARM family, by the number the kernel prints.
const IMPLEMENTERS: [(&str, &str); 15] = [
    ("0x41", "ARM"),
    ("0x42", "Broadcom"),
    ("0x43", "Cavium"),
    ("0x44", "DEC"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x49", "Infineon"),
    ("0x4d", "Motorola/Freescale"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x51", "Qualcomm"),
    ("0x56", "Marvell"),
    ("0x61", "Apple"),
    ("0x69", "Intel"),
    ("0xc0", "Ampere"),
];

/// `None` when no processor is listed, which the reference answers as null.
pub(super) fn read(root: &Root) -> io::Result<Option<Vec<Cpu>>> {
    let mut cpus: Vec<Cpu> = Vec::new();
    // Old ARM kernels name the processor once, before the first entry.
    let mut common_name = String::new();
    for line in root.text("proc/cpuinfo").lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "Processor" => value.clone_into(&mut common_name),
            "processor" => {
                let cpu = number(value)?;
                cpus.push(Cpu { cpu, cores: 1, model_name: common_name.clone(), ..Cpu::default() });
            }
            _ => {
                if let Some(cpu) = cpus.last_mut() {
                    cpu.note(key, value)?;
                }
            }
        }
    }
    for cpu in &mut cpus {
        cpu.complete(root);
    }
    Ok((!cpus.is_empty()).then_some(cpus))
}

fn number(value: &str) -> io::Result<i32> {
    value.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Cpu {
    fn note(&mut self, key: &str, value: &str) -> io::Result<()> {
        match key {
            "vendorId" | "vendor_id" => value.clone_into(&mut self.vendor_id),
            "CPU implementer" => {
                if let Some((_, name)) = IMPLEMENTERS.into_iter().find(|(code, _)| code.eq_ignore_ascii_case(value)) {
                    name.clone_into(&mut self.vendor_id);
                }
            }
            "cpu family" => value.clone_into(&mut self.family),
            "model" | "CPU part" => value.clone_into(&mut self.model),
            "model name" | "cpu" => value.clone_into(&mut self.model_name),
            "stepping" | "CPU revision" => self.stepping = number(value)?,
            "revision" => self.stepping = number(value.split('.').next().unwrap_or_default())?,
            "cpu MHz" | "clock" => self.mhz = value.replacen("MHz", "", 1).parse().unwrap_or(self.mhz),
            "cache size" => self.cache_size = number(value.trim_end_matches(" KB"))?,
            "physical id" => value.clone_into(&mut self.physical_id),
            "core id" => value.clone_into(&mut self.core_id),
            "flags" | "Features" => {
                let words = value.split([',', ' ']).filter(|word| !word.is_empty());
                self.flags = Some(words.map(str::to_owned).collect());
            }
            "microcode" => value.clone_into(&mut self.microcode),
            _ => {}
        }
        Ok(())
    }

    /// What `/proc/cpuinfo` leaves out stands under `/sys`.
    fn complete(&mut self, root: &Root) {
        let of_this = |file: &str| root.first_line(&format!("sys/devices/system/cpu/cpu{}/{file}", self.cpu));
        if self.core_id.is_empty()
            && let Some(id) = of_this("topology/core_id")
        {
            self.core_id = id;
        }
        if let Some(khz) = of_this("cpufreq/cpuinfo_max_freq").and_then(|text| text.parse::<f64>().ok()) {
            self.mhz = khz / 1000.0;
            if self.mhz > 9999.0 {
                // Some kernels tell Hz.
                self.mhz /= 1000.0;
            }
        }
    }
}
